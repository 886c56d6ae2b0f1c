// Sampling against a census: draw samples from a population of answers that is known, and count how often intervals hold.
bookLaboratories.census = function (root, data, reset) {
  "use strict";
  const { button, bytes, chance, choice, drawing, element, exactInterval, field, hide, inSlices, label, nCarries, percent, settingsOf } = bookLaboratories;
  const PAIRS = 1000000;
  const [WIDTH, HEIGHT, KEPT] = [440, 210, 40]; // narrow, so that its text is legible on a phone
  const settings = settingsOf(root.id, { model: 1, design: "simple", n: 50, seed: 1 });
  const populations = data.models.map((each) => {
    const wrong = new Uint8Array(PAIRS);
    if (each.wrong) for (const pair of each.wrong) wrong[pair] = 1;
    else bytes(each.bits).forEach((byte, i) => { for (let k = 0; k < 8; k += 1) wrong[8 * i + k] = (byte >> (7 - k)) & 1; });
    return { name: each.name, wrong, rate: wrong.reduce((sum, one) => sum + one, 0) / PAIRS };
  });
  let strata = null; // pairs by their number of carries; made when first needed
  const byCarries = () => {
    if (!strata) {
      strata = [[], [], [], []];
      for (let pair = 0; pair < PAIRS; pair += 1) strata[nCarries(Math.floor(pair / 1000), pair % 1000)].push(pair);
    }
    return strata;
  };

  const controls = {
    model: choice(populations.map((each, i) => [i, each.name]), settings.model),
    design: choice([["simple", "simple random sample"], ["proportional", "stratified by carries, in proportion"],
      ["equal", "stratified by carries, equal parts"]], settings.design),
    n: choice([6, 50, 200, 1000].map((n) => [n, `${n.toLocaleString("en")} sums`]), settings.n),
  };
  const said = element("p", { className: "said", role: "status" });
  const picture = element("div");
  const progress = element("progress", { max: 200, value: 0, hidden: true, "aria-label": "Samples drawn" });
  const stop = button("Stop", () => { running += 1; });
  const many = button("Draw 200", () => drawMany(200));
  stop.hidden = true;
  let [random, samples, running] = [chance(Number(settings.seed)), [], 0];

  /** How many of n go to each class: in proportion to its size, or equal parts; remainders to the first classes. */
  function shares(n) {
    const sizes = controls.design.value === "equal" ? [1, 1, 1, 1] : byCarries().map((pairs) => pairs.length);
    const exact = sizes.map((size) => (n * size) / sizes.reduce((a, b) => a + b));
    const given = exact.map(Math.floor);
    const order = exact.map((x, k) => [x - given[k], k]).sort((x, y) => y[0] - x[0] || x[1] - y[1]);
    for (let i = 0, left = n - given.reduce((a, b) => a + b); i < left; i += 1) given[order[i][1]] += 1;
    return given;
  }

  /** One sample: {estimate, low, high}, with replacement. */
  function draw() {
    const { wrong } = populations[controls.model.value];
    const n = Number(controls.n.value);
    if (controls.design.value === "simple") {
      let k = 0;
      for (let i = 0; i < n; i += 1) k += wrong[Math.floor(random() * PAIRS)];
      const [low, high] = exactInterval(k, n);
      return { estimate: k / n, low, high };
    }
    let [estimate, variance] = [0, 0];
    shares(n).forEach((part, stratum) => {
      const pairs = byCarries()[stratum];
      if (!part) return;
      let k = 0;
      for (let i = 0; i < part; i += 1) k += wrong[pairs[Math.floor(random() * pairs.length)]];
      const [weight, rate] = [pairs.length / PAIRS, k / part];
      estimate += weight * rate;
      variance += (weight ** 2 * rate * (1 - rate)) / Math.max(1, part - 1);
    });
    const half = 1.96 * Math.sqrt(variance);
    return { estimate, low: Math.max(0, estimate - half), high: Math.min(1, estimate + half) };
  }

  /** latest: the sample just drawn alone, which is told first. */
  function show(latest) {
    const { rate } = populations[controls.model.value];
    const contains = ({ low, high }) => low <= rate && rate <= high;
    const holds = samples.filter(contains).length;
    const lucky = samples.filter(({ estimate }) => estimate === 0).length;
    const mean = samples.reduce((sum, each) => sum + each.estimate, 0) / samples.length;
    const several = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
    const told = latest ? `This sample: ${percent(latest.estimate, 3)}, ${percent(latest.low, 3)} to ${percent(latest.high, 3)}; it ` +
      `${contains(latest) ? "contains" : "misses"} the truth. In all: ` : "";
    said.textContent = samples.length
      ? `${told}${several(samples.length, "sample")}. The mean estimate is ${percent(mean, 3)}; the census says ${percent(rate, 3)}. ` +
        `${several(holds, "interval")} of ${samples.length.toLocaleString("en")} ${holds === 1 ? "contains" : "contain"} the truth ` +
        `(${percent(holds / samples.length)}). ${several(lucky, "sample")} showed no error at all.`
      : `The census says that ${percent(rate, 3)} of all sums are wrong. Draw a sample and see what it says.`;
    const shown = samples.slice(-KEPT);
    const lengths = shown.map(({ low, high }) => high - low).sort((one, two) => one - two);
    const right = Math.max(1e-5, rate * 2, ...shown.map(({ high }) => high)) * 1.05;
    const x = (share) => 10 + ((WIDTH - 20) * share) / right;
    const y = (i) => 12 + (i * (HEIGHT - 44)) / KEPT;
    const line = (x1, y1, x2, y2, name) => drawing("line", { x1, y1, x2, y2, class: name });
    const text = (share, anchor) => label(x(share), HEIGHT - 8, percent(share, right < 0.01 ? 3 : 1), anchor);
    picture.replaceChildren(drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": `The last ${shown.length} intervals, one line each, and the rate of the census as a vertical line.` + (shown.length
        ? ` ${shown.length - shown.filter(contains).length} of them miss it, ${lengths.filter((each) => each === 0).length} ` +
          `have no length, and the median length is ${percent(lengths[Math.floor(lengths.length / 2)], 3)}.` : "") },
    ...shown.flatMap((each, i) => {
      const { estimate, low, high } = each;
      const name = contains(each) ? "holds" : "misses";
      const mark = name === "holds" ? drawing("circle", { cx: x(estimate), cy: y(i), r: 2, class: name })
        : drawing("path", { d: `M${x(estimate) - 3} ${y(i) - 3}l6 6m0 -6l-6 6`, class: name });
      return [line(x(low), y(i), x(high), y(i), name), mark];
    }),
    line(x(rate), 4, x(rate), HEIGHT - 26, "truth"), line(10, HEIGHT - 26, WIDTH - 10, HEIGHT - 26, "axis"),
    label(WIDTH / 2, HEIGHT - 8, "share of sums wrong", "middle"),
    text(0, "start"), text(right / 1.05, "end")));
    settings.keep({ model: controls.model.value, design: controls.design.value, n: controls.n.value, seed: settings.seed });
  }

  async function drawMany(n) {
    const mine = (running += 1);
    progress.max = n;
    progress.hidden = stop.hidden = n === 1;
    if (n > 1) hide(many, stop); // so that it is not pressed twice
    await inSlices(n, () => samples.push(draw()), (i) => { progress.value = i; }, () => running !== mine);
    progress.hidden = true;
    many.hidden = false;
    hide(stop, many);
    show(n === 1 ? samples.at(-1) : null);
  }

  function anew() {
    running += 1;
    [random, samples] = [chance(Number(settings.seed)), []];
    show();
  }

  Object.values(controls).forEach((control) => control.addEventListener("change", anew));
  root.append(
    element("p", { className: "lab-title" }, "Laboratory: sampling against a census"),
    element("div", { className: "fields" }, field("Model", controls.model), field("Design", controls.design),
      field("Sample of", controls.n), button("Draw one", () => drawMany(1)), many,
      stop, button("Reset", reset), progress),
    said, picture,
    element("p", { className: "lab-note" },
      `Each line is the interval of one sample, 95 %, of the last ${KEPT}; a cross marks one that misses the truth, the vertical line. Simple samples have exact intervals, ` +
      `stratified ones the usual normal interval. ${data.note}`));
  show();
};

// Learning, replayed: one stored run by epoch. Guess when it has learned, then move through its weights.
bookLaboratories.replay = function (root, data, reset) {
  "use strict";
  const { COLUMNS, PLACES, Transformer, argmax, button, choice, drawing, element, field, inSlices, label, percent, say,
    sequence, settingsOf, table } = bookLaboratories;
  const [WIDTH, HEIGHT, LEFT] = [440, 200, 34]; // narrow, so that its text is legible on a phone
  const TOP = 3.6; // digits at chance: the plot's upper end; the first epochs, with the format not yet known, lie above it
  const STROKES = ["", "9 4", "3 3", "12 3 2 3"]; // one for each column: no meaning by colour alone
  const epochs = data.epochs.map((each) => each.epoch);
  const last = data.history.length;
  const settings = settingsOf(root.id, { a: 123, b: 989, epoch: 0, guess: "", others: "none" });
  const models = epochs.map(() => null);
  const model = (i) => (models[i] ||= new Transformer({ ...data.epochs[i], config: data.config, tensors: data.tensors, half: true }));
  const unbroken = (share) => percent(share).replace(" ", "\u00a0"); // in the narrow cells of a phone
  const symbol = (token) => data.symbols[token];
  const whole = (text, low, high) => Math.min(high, Math.max(low, Math.round(Number(text)) || low));

  const number = (value, low, high) => element("input", { type: "number", min: low, max: high, step: 1, value, inputMode: "numeric" });
  const [a, b] = [number(whole(settings.a, 0, 999), 0, 999), number(whole(settings.b, 0, 999), 0, 999)];
  const guess = number(settings.guess && whole(settings.guess, 1, last), 1, last);
  const others = choice([["none", "none"], ...data.others.map(({ name }, i) => [i, name])], settings.others);
  const slider = element("input", { type: "range", min: 0, max: epochs.length - 1, step: 1, value: 0 });
  const where = element("output", { "aria-hidden": "true" }); // the slider says it too
  const [verdict, said] = [0, 1].map(() => element("p", { className: "said", role: "status" }));
  const [curves, answer, maps, rows, story] = Array.from({ length: 5 }, () => element("div"));
  maps.className = "pair";
  let running = 0;

  const operand = (input) => whole(input.value, 0, 999);
  let committed = guess.value; // the guess that was given: typing alone shows nothing
  const isOpen = () => committed !== "";
  const learned = data.history.findIndex((each) => each.accuracy >= data.learned) + 1; // epochs count from 1
  const furthest = () => (isOpen() ? epochs.length - 1 : epochs.filter((epoch) => epoch <= data.open).length - 1);

  function written(i) {
    const right = sequence(operand(a), operand(b), data.tokens);
    const { tokens, sure } = model(i).write(right.slice(0, 8), 5);
    const text = tokens.slice(0, 4).map(symbol).reverse().join("").replace(/^0(?=\d)/, "");
    return { tokens, sure, right: right.slice(8), text, hits: tokens.slice(0, 4).filter((token, k) => token === right[8 + k]).length,
      isRight: tokens.every((token, k) => token === right[8 + k]) };
  }

  // -- The curves

  const x = (epoch) => LEFT + ((WIDTH - LEFT - 12) * epoch) / last;
  const line = (x1, y1, x2, y2, name, dashes = "") => drawing("line", { x1, y1, x2, y2, class: name, "stroke-dasharray": dashes });

  function path(values, y, name, dashes = "") {
    const points = values.map((value, i) => (value === null ? null : `${x(i + 1).toFixed(1)},${y(value).toFixed(1)}`)).filter(Boolean);
    return drawing("polyline", { points: points.join(" "), class: name, "stroke-dasharray": dashes });
  }

  /** Both panels' epochs: the axis, where the slider stands, and the guess. */
  function frame(y0, y1, now) {
    return [line(x(now), y1, x(now), y0, "truth"), line(LEFT, y0, WIDTH - 12, y0, "axis"),
      ...(isOpen() ? [line(x(committed), y1, x(committed), y0, "guess", "2 3")] : []),
      ...[0, 10, 20, 30, 40].filter((epoch) => epoch <= last).map((epoch) => label(x(epoch), y0 + 16, epoch, "middle"))];
  }

  function showCurves(now) {
    const shown = data.history.slice(0, isOpen() ? last : data.open);
    const [low, high] = [HEIGHT - 24, 8];
    const y = (value) => low - ((low - high) * value) / TOP;
    const seen = (excess) => excess.map((value) => (value > TOP ? null : value));
    const laid = others.value === "none" ? [] : data.others[others.value].runs;
    const until = `Epochs 1 to ${shown.length}`;
    const excess = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": `${until}: the loss above its floor, in digits at chance, with whole digits dotted. ` +
        [2, 6, 12, 20, 22, 23, last].filter((epoch) => epoch <= shown.length)
          .map((epoch) => `${shown[epoch - 1].excess.toFixed(2)} in epoch ${epoch}`).join(", ") + "." +
        (laid.length ? ` Behind it, thin, ${laid.length} stored reference runs of other starts.` : "") },
    ...[1, 2, 3].flatMap((digits) => [line(LEFT, y(digits), WIDTH - 12, y(digits), "axis", "1 4"), label(LEFT - 6, y(digits) + 5, digits, "end")]),
    label(LEFT - 6, y(0) + 5, 0, "end"),
    ...laid.map((each) => path(seen(each.excess.slice(0, shown.length)), y, "other")), ...frame(low, high, now),
    ...(isOpen() ? [label(x(committed) + (committed > last / 2 ? -4 : 4), high + 8, "your guess", committed > last / 2 ? "end" : "start")] : []),
    path(seen(shown.map((each) => each.excess)), y, "line"));
    const share = (value) => low - (low - high) * value;
    const columns = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 22}`, role: "img",
      "aria-label": `${until}: the share of test sums with the right digit, column by column. In the last of them: ` +
        COLUMNS.map((name, k) => `${name} ${percent(shown.at(-1).columns[k])}`).join(", ") + "." },
    label(LEFT - 6, share(1) + 5, 1, "end"), label(LEFT - 6, share(0) + 5, 0, "end"),
    line(LEFT, share(0.1), WIDTH - 12, share(0.1), "axis", "1 4"), label(LEFT - 6, share(0.1) + 5, "0.1", "end"),
    ...frame(low, high, now),
    ...COLUMNS.map((_, k) => path(shown.map((each) => each.columns[k]), share, `line column-${k}`, STROKES[k])),
    ...COLUMNS.flatMap((name, k) => [line(8 + k * 106, HEIGHT + 12, 34 + k * 106, HEIGHT + 12, `line column-${k}`, STROKES[k]),
      label(38 + k * 106, HEIGHT + 17, name)]));
    const figure = (words, made) => element("figure", {}, made, element("figcaption", {}, words));
    curves.replaceChildren(figure("The loss above its floor, in digits at chance, by epoch.", excess),
      figure("The share of test sums with the right digit, by epoch and column.", columns));
  }

  // -- The model of one epoch

  function showAnswer(i) {
    const { tokens, sure, right } = written(i);
    const measured = data.history[epochs[i] - 1];
    answer.replaceChildren(table(`Epoch ${epochs[i]}: what it writes, ones first.`,
      ["column", "written, probability", "right?", "test sums right"],
      COLUMNS.map((name, k) => [name, `${symbol(tokens[k])}, ${unbroken(sure[k])}`, tokens[k] === right[k] ? "yes" : `no: ${symbol(right[k])}`,
        measured ? unbroken(measured.columns[k]) : "–"])));
  }

  function map(pattern, layer, tokens) {
    const [size, left] = [22, 22];
    return element("figure", {}, drawing("svg", { viewBox: `0 0 ${left + 12 * size + 2} ${left + 12 * size + 2}`, role: "img",
      "aria-label": `Attention map of layer ${layer + 1}, one row for each position of the sum. The table below has the largest weights.` },
    ...tokens.flatMap((token, t) => [label(left + (t + 0.5) * size, 16, symbol(token), "middle"), label(16, left + (t + 0.75) * size, symbol(token), "end")]),
    ...pattern.flatMap((weights, t) => weights.map((weight, u) => {
      const words = drawing("title");
      words.textContent = `${PLACES[t]} looks at ${PLACES[u]}: ${weight.toFixed(3)}`;
      return drawing("rect", { x: left + u * size, y: left + t * size, width: size, height: size, class: "cell", "fill-opacity": weight.toFixed(3) }, words);
    }))), element("figcaption", {}, `Layer ${layer + 1}`));
  }

  function showMaps(i) {
    const tokens = sequence(operand(a), operand(b), data.tokens).slice(0, 12);
    const patterns = model(i).forward(tokens).patterns.map((heads) => heads[0]);
    const most = (weights) => { const u = argmax(weights); return `${PLACES[u]}, ${weights[u].toFixed(2)}`; };
    maps.replaceChildren(...patterns.map((pattern, layer) => map(pattern, layer, tokens)));
    rows.replaceChildren(table("Where each position that predicts a digit looks most, and its weight there.",
      ["it predicts the", "layer 1", "layer 2"], COLUMNS.map((name, k) => [name, ...patterns.map((pattern) => most(pattern[7 + k]))])));
  }

  /** Your sum at all epochs: in slices, because a slow phone takes a second for them. */
  async function tell() {
    const mine = (running += 1);
    const found = [];
    await inSlices(furthest() + 1, (i) => found.push(written(i)), () => {}, () => running !== mine);
    if (running !== mine) return;
    story.replaceChildren(table(`${operand(a)} + ${operand(b)} = ${operand(a) + operand(b)}, at each epoch whose weights are stored.`,
      ["epoch", "it writes", "right digits"], found.map(({ text, hits }, i) => [epochs[i], text, `${hits} of 4`])));
  }

  function show() {
    slider.max = furthest();
    const i = Number(slider.value);
    const [epoch, now] = [epochs[i], data.history[epochs[i] - 1]];
    where.textContent = `epoch ${epoch}`;
    slider.setAttribute("aria-valuetext", where.textContent);
    const off = committed - learned;
    say(verdict, !isOpen()
      ? `In which epoch has it ${percent(data.learned)} of the ${data.tested.toLocaleString("en")} test sums right for the first time? Guess first: ` +
        `until then you see epochs 0 to ${data.open}.`
      : `You said epoch ${committed}. It was epoch ${learned}` + (off ? `: ${Math.abs(off)} ${Math.abs(off) === 1 ? "epoch" : "epochs"} ${off > 0 ? "earlier" : "later"} than you said.` : "."));
    const { text, isRight } = written(i);
    say(said, (now ? `Epoch ${epoch}: ${now.excess.toFixed(2)} digits at chance above the floor, ${percent(now.accuracy)} of the test sums right. `
      : "Epoch 0, before the first step: nothing was measured yet. ") +
      `${operand(a)} + ${operand(b)}: the model writes ${text}, which is ${isRight ? "right" : `wrong; the sum is ${operand(a) + operand(b)}`}.`);
    showCurves(epoch);
    showAnswer(i);
    showMaps(i);
    settings.keep({ a: operand(a), b: operand(b), epoch, guess: committed, others: others.value });
  }

  function commit() {
    const given = Math.round(Number(guess.value));
    if (!(given >= 1 && given <= last)) return say(verdict, `Guess an epoch from 1 to ${last}.`);
    guess.value = committed = String(given);
    show();
    tell();
  }

  slider.addEventListener("input", show);
  others.addEventListener("change", show);
  for (const control of [a, b]) control.addEventListener("input", () => { show(); tell(); });
  guess.addEventListener("keydown", (event) => { if (event.key === "Enter") commit(); }); // arrows and Tab are no answer
  const position = field("Epoch", slider);
  position.append(where);
  root.append(
    element("p", { className: "lab-title" }, "Laboratory: learning, replayed"),
    element("div", { className: "fields" }, field(`Your guess, epoch 1 to ${last}`, guess), button("Show what happened", commit), button("Reset", reset)), verdict,
    element("div", { className: "fields" }, position, field("First number", a), field("Second number", b),
      field("Other runs laid behind", others)),
    said, curves, answer, maps, rows, story,
    element("p", { className: "lab-note" }, `${data.note}`));
  slider.max = furthest();
  slider.value = Math.max(0, epochs.indexOf(Number(settings.epoch)));
  show();
  tell();
};

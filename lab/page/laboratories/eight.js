// Eight, nine and fifty-seven numbers: each number of a small adder under a slider, and the training of the eight in the page.
bookLaboratories.eight = function (root, data, reset) {
  "use strict";
  const { argmax, button, chance, choice, drawing, element, field, gelu, hide, inSlices, label, place, say, settingsOf, softmax, table } =
    bookLaboratories;
  const [WINDOW, ROWS, FIRST_ROW] = [data.window, 11, 22];
  const [WIDTH, HEIGHT] = [440, 200];
  const settings = settingsOf(root.id, { preset: 0, seed: data.seeds[0], numbers: "" });
  const recipe = data.recipe;

  // -- The model: see lab/adders/models/rotary_adder.py; w holds [first angle,] stride, S, phi, write, up, down, two of the head

  /** A sum's 34 tokens: a zero, both operands and their marks, the sum; all ones first. */
  function tokensOf(a, b) {
    const digits = (n, width) => Array.from({ length: width }, (_, k) => place(n, k));
    return Uint8Array.from([0, ...digits(a, 10), 0, ...digits(b, 10), 0, ...digits(a + b, 11)]);
  }

  function named(w) {
    const rest = w.length === 9 ? w.slice(1) : w;
    const [stride, S, phi, write, up, down, h0, h1] = rest;
    return { first: w.length === 9 ? w[0] : -4.5 * stride, stride, S, phi, write, up, down, h0, h1 };
  }

  /** The 57: see lab/adders/models/micro_adder.py. It reads a sum without the zero in front. */
  class FiftySeven {
    constructor(w) {
      const part = (from, n) => w.slice(from, from + n);
      const [size, first, stride] = w;
      const [equals, last, query, theta, out] = [part(3, 3), part(6, 3), part(9, 12), w[21], part(22, 5)];
      [this.back, this.up, this.head, this.norm] = [part(27, 5), part(32, 10), part(42, 10), part(52, 5)];
      this.table = Array.from({ length: 10 }, (_, d) => [size * Math.cos(first + stride * d), size * Math.sin(first + stride * d)]);
      const [amplitude, phase, slope, offset] = data.spiral;
      const slots = Array.from({ length: 10 }, (_, i) => {
        const angle = (2 * Math.PI * i) / 10 + phase;
        return [amplitude * Math.cos(angle), amplitude * Math.sin(angle), slope * i + offset];
      });
      this.positions = [...slots, [0, 0, 0], ...slots, equals, ...slots, last];
      const square = (v) => v.reduce((sum, value) => sum + value * value, 0);
      this.scale = this.positions.map((v) => 1 / Math.sqrt((size * size + square(v)) / 5 + data.eps)); // every digit has one length
      const keys = this.positions.map((v, t) => [0, 1, 2, 3].map((i) =>
        [0, 1, 2].reduce((sum, j) => sum + query[3 * i + j] * v[j] * this.scale[t] * this.norm[2 + j], 0)));
      const [c, s] = [Math.cos(theta), Math.sin(theta)];
      const turned = keys.map(([a, b, d, e]) => [a * c - b * s, a * s + b * c, d * c - e * s, d * s + e * c]);
      this.weights = Array.from({ length: ROWS }, (_, i) => softmax(keys.slice(0, FIRST_ROW + i).map((key) =>
        key.reduce((sum, value, j) => sum + value * turned[FIRST_ROW - 1 + i][j], 0) / 2)));
      const direction = [0, 1].map((i) => out.reduce((sum, value, j) => sum + value * this.head[5 * i + j], 0) * this.norm[i]);
      this.values = this.table.map(([a, b]) => a * direction[0] + b * direction[1]);
    }

    normalise(x) {
      const factor = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / 5 + data.eps);
      return x.map((value, i) => value * factor * this.norm[i]);
    }

    /** One row, `at` counted with the zero in front; fills `logits`. */
    row(tokens, at) {
      const times = (matrix, x) => [0, 1].map((i) => x.reduce((sum, value, j) => sum + value * matrix[5 * i + j], 0));
      const received = this.weights[at - FIRST_ROW].reduce((sum, weight, u) => sum + weight * this.scale[u] * this.values[tokens[u + 1]], 0);
      let x = [...this.table[tokens[at]], ...this.positions[at - 1]].map((value, i) => value + received * this.back[i]);
      const units = times(this.up, this.normalise(x)).map(gelu);
      x = x.map((value, i) => value + units[0] * this.head[i] + units[1] * this.head[5 + i]);
      const z = times(this.head, this.normalise(x));
      for (let d = 0; d < 10; d += 1) logits[d] = z[0] * this.table[d][0] + z[1] * this.table[d][1];
    }
  }

  function shared(w) {
    if (w.length === 57) return new FiftySeven(w);
    const m = named(w);
    const angles = Array.from({ length: 10 }, (_, d) => m.first + m.stride * d);
    const turn = (2 * Math.PI) / data.period;
    const scores = Array.from({ length: WINDOW }, (_, lag) => m.S * Math.cos(turn * (lag - m.phi)));
    return { m, turn, cos: angles.map(Math.cos), sin: angles.map(Math.sin), weights: softmax(scores) };
  }

  const logits = new Float64Array(10);
  /** One row of one sum; fills `logits` and returns what was computed on the way. */
  function row(model, tokens, at) {
    if (model instanceof FiftySeven) return model.row(tokens, at);
    const { m, cos, sin, weights } = model;
    const norm = 1 / Math.sqrt(1 + data.eps);
    let received = 0;
    for (let lag = 0; lag < WINDOW; lag += 1) received += weights[lag] * sin[tokens[at - lag]];
    received *= Math.SQRT2 * norm;
    const [c, y] = [Math.SQRT2 * cos[tokens[at]], Math.SQRT2 * sin[tokens[at]] + m.write * received];
    const q = 1 / Math.sqrt((c * c + y * y) / 2 + data.eps);
    const t = Math.tanh(m.up * y * q);
    const y2 = y + m.down * t;
    const q2 = 1 / Math.sqrt((c * c + y2 * y2) / 2 + data.eps);
    const [z0, z1] = [m.h0 * c * q2, m.h1 * y2 * q2];
    for (let d = 0; d < 10; d += 1) logits[d] = data.radius * (z0 * cos[d] + z1 * sin[d]);
    return { norm, received, c, y, q, t, y2, q2, z0, z1 };
  }

  function logitsOf(w, tokens) {
    const s = shared(w);
    return Array.from({ length: ROWS }, (_, i) => { row(s, tokens, FIRST_ROW + i); return [...logits]; });
  }

  /** Which digits are wrong, the right ones before them: per sum one array of 11. */
  function wrongDigits(w, sums) {
    const s = shared(w);
    return sums.map((tokens) => Array.from({ length: ROWS }, (_, i) => {
      row(s, tokens, FIRST_ROW + i);
      return argmax(logits) !== tokens[FIRST_ROW + i + 1];
    }));
  }

  function adds(w, sums) {
    const s = shared(w);
    return sums.every((tokens) => {
      for (let i = 0; i < ROWS; i += 1) {
        row(s, tokens, FIRST_ROW + i);
        if (argmax(logits) !== tokens[FIRST_ROW + i + 1]) return false;
      }
      return true;
    });
  }

  /** Mean cross-entropy over the rows of a batch, and its gradient, written out. */
  function lossAndGradient(w, batch) {
    const s = shared(w);
    const { m, turn, cos, sin, weights } = s;
    const [dAngle, dSin, dCos, dWeight] = [10, 10, 10, WINDOW].map((n) => new Float64Array(n));
    const g = { S: 0, phi: 0, write: 0, up: 0, down: 0, h0: 0, h1: 0 };
    let loss = 0;
    const share = 1 / (batch.length * ROWS);
    for (const tokens of batch) {
      for (let at = FIRST_ROW; at < FIRST_ROW + ROWS; at += 1) {
        const { norm, received, c, y, q, t, y2, q2, z0, z1 } = row(s, tokens, at);
        const right = tokens[at + 1];
        const top = Math.max(...logits);
        let total = 0;
        for (let d = 0; d < 10; d += 1) total += Math.exp(logits[d] - top);
        loss += (Math.log(total) + top - logits[right]) * share;
        let [dz0, dz1] = [0, 0];
        for (let d = 0; d < 10; d += 1) {
          const pull = data.radius * share * (Math.exp(logits[d] - top) / total - (d === right));
          dz0 += pull * cos[d];
          dz1 += pull * sin[d];
          dAngle[d] += pull * (z1 * cos[d] - z0 * sin[d]);
        }
        g.h0 += dz0 * c * q2;
        g.h1 += dz1 * y2 * q2;
        const dSize2 = -0.5 * q2 ** 3 * (dz0 * m.h0 * c + dz1 * m.h1 * y2);
        let dc = dz0 * m.h0 * q2 + dSize2 * c;
        const dy2 = dz1 * m.h1 * q2 + dSize2 * y2;
        g.down += dy2 * t;
        const du = dy2 * m.down * (1 - t * t);
        g.up += du * y * q;
        const dSize = -0.5 * q ** 3 * du * m.up * y;
        dc += dSize * c;
        const dy = dy2 + du * m.up * q + dSize * y;
        g.write += dy * received;
        dSin[tokens[at]] += dy;
        dCos[tokens[at]] += dc;
        for (let lag = 0; lag < WINDOW; lag += 1) {
          const digit = tokens[at - lag];
          dWeight[lag] += dy * m.write * Math.SQRT2 * norm * sin[digit];
          dSin[digit] += dy * m.write * norm * weights[lag];
        }
      }
    }
    let mean = 0;
    for (let lag = 0; lag < WINDOW; lag += 1) mean += weights[lag] * dWeight[lag];
    for (let lag = 0; lag < WINDOW; lag += 1) {
      const dScore = weights[lag] * (dWeight[lag] - mean);
      g.S += dScore * Math.cos(turn * (lag - m.phi));
      g.phi += dScore * m.S * turn * Math.sin(turn * (lag - m.phi));
    }
    let [first, stride] = [0, 0];
    for (let d = 0; d < 10; d += 1) {
      dAngle[d] += Math.SQRT2 * (dSin[d] * cos[d] - dCos[d] * sin[d]);
      first += dAngle[d];
      stride += dAngle[d] * (w.length === 9 ? d : d - 4.5);
    }
    const gradient = [stride, g.S, g.phi, g.write, g.up, g.down, g.h0, g.h1];
    return { loss, gradient: w.length === 9 ? [first, ...gradient] : gradient };
  }

  /** The fleet's optimiser: AdamW without decay, clipped, with a warm-up and a cosine to zero. */
  class Training {
    constructor(w) {
      this.w = [...w];
      this.step = 0;
      [this.moment, this.square] = [w, w].map(() => new Float64Array(w.length));
      this.factors = (w.length === 9 ? [1] : []).concat(data.factors);
    }

    rate() {
      const { lr, final_lr: last, warmup_steps: warm, steps } = recipe;
      if (this.step < warm) return (lr * (this.step + 1)) / warm;
      return last + ((lr - last) * (1 + Math.cos((Math.PI * (this.step - warm)) / Math.max(1, steps - warm)))) / 2;
    }

    learn(batch) {
      const { loss, gradient } = lossAndGradient(this.w, batch);
      const rate = this.rate();
      this.step += 1;
      const shrink = Math.min(1, recipe.clip / (Math.hypot(...gradient) + 1e-6));
      gradient.forEach((raw, i) => {
        const g = raw * shrink;
        this.moment[i] += 0.1 * (g - this.moment[i]);
        this.square[i] = 0.999 * this.square[i] + 0.001 * g * g;
        const spread = Math.sqrt(this.square[i] / (1 - 0.999 ** this.step)) + 1e-8;
        this.w[i] -= (rate / (1 - 0.9 ** this.step)) * this.factors[i] * (this.moment[i] / spread);
      });
      return loss;
    }
  }

  /** The page's own stream of training sums, of the recipe's kinds: uniform, long carries, columns of 9 + 9. */
  function stream(random) {
    const below = (n) => Math.floor(random() * n);
    const largest = 10 ** 10 - 1;
    function carrying() {
      const n = 1 + below(10);
      const at = below(n);
      switch (below(4)) {
        case 0: {
          const operand = () => Array.from({ length: n }, (_, k) => (k === at ? 5 + below(5) : below(5)))
            .reduce((sum, digit, k) => sum + digit * 10 ** k, 0);
          return [operand(), operand()];
        }
        case 1: return [10 ** n - 1, 1 + below(10 ** Math.min(n, 3))];
        case 2: return [(1 + below(9)) * 10 ** (n - 1) + below(10 ** (n - 1)), (1 + below(9)) * 10 ** at];
        default: return [Math.max(0, 10 ** n - 1 - below(10)), 1 + below(20)];
      }
    }
    return () => {
      let [a, b] = random() < recipe.carry_share ? carrying() : [below(largest + 1), below(largest + 1)];
      if (random() < recipe.nines_share) {
        for (let k = 0; k < 10; k += 1) {
          if (random() < recipe.nines_chance) [a, b] = [a, b].map((n) => n + (9 - place(n, k)) * 10 ** k);
        }
      }
      return tokensOf(a, b);
    };
  }

  /** How far a number may move alone before one of the sums breaks: as lab/adders/fragility.py finds it. */
  function passingInterval(w, i, sums) {
    const good = (change) => adds(w.map((value, k) => (k === i ? value + change : value)), sums);
    const unit = Math.abs(w[i]) || 1;
    return [-1, 1].map((sign) => {
      let [inside, step] = [0, unit * 2 ** -20];
      while (step <= unit * 1024 && good(sign * step)) [inside, step] = [step, 4 * step];
      if (step > unit * 1024) return sign * Infinity;
      let outside = step;
      for (let k = 0; k < 10; k += 1) {
        const middle = (inside + outside) / 2;
        if (good(sign * middle)) inside = middle; else outside = middle;
      }
      return w[i] + sign * inside;
    });
  }

  bookLaboratories.eightNumbers = { FiftySeven, Training, lossAndGradient, logitsOf, passingInterval, tokensOf, wrongDigits };

  // -- The page

  const strata = data.strata.map(({ ripple, pairs }) => ({ ripple, sums: pairs.map(([a, b]) => tokensOf(a, b)) }));
  const demanding = data.demanding.map(([a, b]) => tokensOf(a, b));
  const OWN = "own"; // what the list shows where the numbers are no longer a preset's
  const presets = choice(data.presets.map((each, i) => [i, each.name]), settings.preset);
  presets.append(element("option", { value: OWN, hidden: true }, "the sliders, as they stand"));
  const seed = element("input", { type: "number", min: data.seeds[0], max: data.seeds[1], step: 1, value: settings.seed });
  const kind = choice(data.starts.map((each, i) => [i, each.name]), 0);
  const [sliders, accuracy, wave, interval, curve] = Array.from({ length: 5 }, () => element("div"));
  const legend = element("p", { className: "lab-note" });
  sliders.className = "fields";
  accuracy.className = "pair";
  const said = element("p", { className: "said", role: "status" });
  const news = element("p", { className: "said", role: "status" });
  const trained = element("p", { className: "said", role: "status" });
  const progress = element("progress", { max: recipe.steps, value: 0, hidden: true, "aria-label": "Training steps done" });
  const at = element("output", { "aria-hidden": "true", hidden: true }); // the bar says it too
  const stop = button("Stop", () => { running += 1; });
  const begin = button("Train", train);
  stop.hidden = true;
  const looked = element("progress", { max: 1, value: 0, "aria-label": "Numbers looked at" });
  let [w, running, runs, chosen] = [[], 0, [], presets.value];
  const preset = () => data.presets[chosen];

  const design = () => data.designs[w.length];
  const groupOf = (i) => design().groups.flatMap(([name, n]) => Array(n).fill(`${name}, `))[i] || "";

  function showSliders() {
    const { names, groups, ranges } = design();
    const made = names.map((name, i) => {
      const [low, high] = [Math.min(ranges[i][0], w[i]), Math.max(ranges[i][1], w[i])];
      const slider = element("input", { type: "range", min: low, max: high, step: (high - low) / 2000, value: w[i] });
      const value = element("output", { "aria-hidden": "true" }, w[i].toPrecision(4));
      slider.setAttribute("aria-valuetext", w[i].toPrecision(4));
      slider.addEventListener("input", () => {
        w[i] = Number(slider.value);
        value.textContent = w[i].toPrecision(4);
        slider.setAttribute("aria-valuetext", value.textContent);
        running += 1; // which also stops a training: its numbers are others now
        interval.replaceChildren();
        say(news, "");
        show();
      });
      if (groups.length) slider.setAttribute("aria-label", groupOf(i) + name);
      const made = field(name, slider);
      made.append(value);
      return made;
    });
    const ends = groups.map((_, i) => groups.slice(0, i + 1).reduce((sum, [, n]) => sum + n, 0));
    sliders.className = groups.length ? "" : "fields";
    sliders.replaceChildren(...(groups.length ? groups.map(([name, n], i) => element("details", {}, element("summary", {}, `${name}: ${n}`),
      element("div", { className: "fields" }, ...made.slice(ends[i] - n, ends[i])))) : made));
  }

  /** Where the 57's answer rows look: a row a digit of the sum, a column a token. */
  function showMap({ weights }) {
    const [left, size] = [26, (WIDTH - 30) / 32];
    const share = (i, at) => weights[i][at].toFixed(2);
    wave.replaceChildren(drawing("svg", { viewBox: `0 0 ${WIDTH} ${24 + ROWS * size + 22}`, role: "img",
      "aria-label": `Where the row that writes each digit looks. ` + Array.from({ length: 10 }, (_, i) =>
        `Column ${i}: ${share(i, i)} on the first number's own digit, ${share(i, 11 + i)} on the second's`).join("; ") + "." },
    ...weights.flatMap((row, i) => [label(left - 4, 24 + (i + 0.8) * size, i, "end"), ...row.map((weight, u) => drawing("rect",
      { x: left + u * size, y: 24 + i * size, width: size, height: size, class: "cell", "fill-opacity": weight.toFixed(3) }))]),
    ...[["first number", 5], ["+", 10.5], ["second number", 16], ["=", 21.5], ["sum", 26]].map(([words, at]) =>
      label(left + at * size, 16, words, "middle")),
    label(WIDTH / 2, 24 + ROWS * size + 18, "a row for each digit of the sum, 0: ones; all ones first", "middle")));
  }

  function showWave() {
    const { m, turn, weights } = shared(w);
    legend.textContent = m ? "Above: the wave that the attention follows. Bars: its weight on each token, by how far back it stands."
      : "The attention: how much each row that writes a digit looks at each token; the fuller the cell, the more.";
    if (!m) return showMap(shared(w));
    const x = (lag) => 20 + ((WIDTH - 40) * lag) / (WINDOW - 1);
    const points = Array.from({ length: 221 }, (_, k) => (k * (WINDOW - 1)) / 220)
      .map((lag) => `${x(lag).toFixed(1)},${(50 - 40 * Math.cos(turn * (lag - m.phi))).toFixed(1)}`);
    return wave.replaceChildren(drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": `The wave of the attention over the last ${WINDOW} tokens, and the weights. Of the weight, ` +
        data.lags.map(({ lag, what }) => `${weights[lag].toFixed(3)} is on ${what}, ${lag} back`).join("; ") + "." },
    drawing("polyline", { points: points.join(" "), class: "line" }),
    ...weights.map((weight, lag) => drawing("rect", { x: x(lag) - 5, y: HEIGHT - 36 - 60 * weight, width: 10,
      height: Math.max(0.5, 60 * weight), class: "column" })),
    drawing("line", { x1: 10, x2: WIDTH - 10, y1: HEIGHT - 36, y2: HEIGHT - 36, class: "axis" }),
    ...[0, 10, 21].map((lag) => label(x(lag), HEIGHT - 20, lag, "middle")), label(WIDTH / 2, HEIGHT - 4, "tokens back", "middle")));
  }

  function show() {
    const found = strata.map(({ ripple, sums }) => ({ ripple, wrong: wrongDigits(w, sums) }));
    const right = (rows) => rows.filter((each) => !each.includes(true)).length;
    const all = found.flatMap(({ wrong }) => wrong);
    say(said, `${right(all)} of ${all.length} sums are right (${all.length / found.length} sums for each longest ripple, 0 to 9).`);
    accuracy.replaceChildren(
      table("Sums right, by the longest ripple: how many columns a carry passes through.", ["ripple", "right"],
        found.map(({ ripple, wrong }) => [ripple, `${right(wrong)} of ${wrong.length}`])),
      table("Digits wrong, by the column of the sum, with the right digits before them.", ["column (0: ones)", "wrong"],
        Array.from({ length: ROWS }, (_, k) => [k, `${all.filter((each) => each[k]).length} of ${all.length}`])));
    showWave();
    const changed = w.some((value, i) => value !== preset().numbers[i]);
    presets.value = changed ? OWN : chosen;
    settings.keep({ preset: chosen, seed: seed.value, numbers: changed ? w.map((value) => Number(value.toPrecision(7))).join(",") : "" });
  }

  function load(numbers) {
    running += 1;
    w = [...numbers];
    interval.replaceChildren();
    say(news, "");
    showSliders();
    show();
  }

  async function showIntervals() {
    const mine = (running += 1);
    if (!adds(w, demanding)) {
      interval.replaceChildren();
      say(news, `As it stands it does not add all of ${demanding.length} demanding sums, so there is nothing to break.`);
      return;
    }
    const { names } = design();
    const ends = [];
    interval.replaceChildren(looked);
    say(news, `Looking how far each of ${names.length} numbers may move …`);
    await inSlices(names.length, (i) => ends.push(passingInterval(w, i, demanding)), (i) => { looked.value = i / names.length; },
      () => running !== mine);
    if (running !== mine) return;
    const same = w.every((value, i) => value === preset().numbers[i]);
    const room = ends.map(([low, high], i) => (high - low) / Math.abs(w[i] || 1));
    const least = room.indexOf(Math.min(...room));
    const shown = (value) => (Number.isFinite(value) ? value.toPrecision(4) : "no bound found");
    say(news, `Done. For its size ${groupOf(least)}${names[least]} may move least: ${ends[least].map(shown).join(" to ")}.`);
    interval.replaceChildren(table(`How far each number may move alone before one of ${demanding.length} demanding sums breaks.`,
      ["number", "from", "to", "the book's figures"], names.map((name, i) => {
        const book = same && preset().intervals ? preset().intervals[i].map((end) => shown(end ?? Infinity)).join(" to ") : "–";
        return [groupOf(i) + name, ...ends[i].map(shown), book];
      })));
  }

  function showCurve() {
    const { name, times } = data.starts[kind.value];
    const x = (step) => 40 + ((WIDTH - 60) * step) / recipe.steps;
    const y = (share) => 12 + (HEIGHT - 60) * (1 - share);
    let [share, path] = [1, `M${x(0)} ${y(1)}`];
    const heights = [[0, 1]];
    for (const step of [...new Set(times.map((each) => each[0]))].sort((p, q) => p - q)) { // Kaplan and Meier
      const atRisk = times.filter(([time]) => time >= step).length;
      share *= 1 - times.filter(([time, censored]) => time === step && !censored).length / atRisk;
      path += `H${x(step)}V${y(share)}`;
      heights.push([step, share]);
    }
    const heightAt = (step) => heights.filter(([from]) => from <= step).at(-1)[1];
    const own = runs.filter((each) => each.kind === kind.value);
    curve.replaceChildren(drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": `Share of ${times.length} stored seeds (${name}) that are not yet right on all sums, over training steps: ` +
        `it ends at ${share.toFixed(3)}. Runs of yours, marked: ` + ["learned", "did not", "censored"]
        .map((fate) => `${own.filter((each) => each.fate === fate).length} ${fate}`).join(", ") + "." },
    drawing("path", { d: path, class: "line" }), drawing("line", { x1: 40, x2: WIDTH - 20, y1: y(0), y2: y(0), class: "axis" }),
    ...own.map(({ step, fate }) => ({
      learned: () => drawing("circle", { cx: x(step), cy: y(0), r: 5, class: "holds" }),
      "did not": () => drawing("path", { d: `M${x(step) - 4} ${y(heightAt(step)) - 4}l8 8m0 -8l-8 8`, class: "misses" }),
      censored: () => drawing("path", { d: `M${x(step)} ${y(heightAt(step)) - 8}v16`, class: "truth" }),
    }[fate]())),
    label(34, y(1) + 5, "1", "end"), label(34, y(0) + 5, "0", "end"), label(WIDTH - 20, y(1) + 5, "share of seeds not yet right", "end"), label(x(0), HEIGHT - 28, "0"),
    label(x(recipe.steps), HEIGHT - 28, recipe.steps.toLocaleString("en"), "end"), label(WIDTH / 2, HEIGHT - 8, "training steps", "middle")));
  }

  async function train() {
    const start = data.starts[kind.value];
    const asked = seed.value;
    const number = Math.min(data.seeds[1], Math.max(data.seeds[0], Math.round(Number(asked)) || data.seeds[0]));
    const moved = asked === String(number) ? "" : `No start is stored for the seed ${asked || "that is missing"}; ${number} is the nearest. `;
    seed.value = number;
    const numbers = start.numbers[number - data.seeds[0]];
    if (preset().numbers.length !== numbers.length) chosen = String(data.presets.findIndex((each) => each.numbers.length === numbers.length));
    load(numbers);
    const mine = (running += 1);
    const training = new Training(w);
    const draw = stream(chance(number));
    let [since, loss] = [null, 0];
    stop.hidden = progress.hidden = at.hidden = false;
    hide(begin, stop); // so that it is not pressed twice
    say(trained, `${moved}Training from seed ${number}, ${recipe.steps.toLocaleString("en")} steps …`);
    const sums = strata.flatMap((each) => each.sums);
    const done = await inSlices(recipe.steps, () => {
      loss = training.learn(Array.from({ length: recipe.batch_size }, draw));
      if (training.step % recipe.evaluate_every === 0) since = adds(training.w, sums) ? since ?? training.step : null;
    }, (i) => {
      progress.value = i;
      at.textContent = `step ${i.toLocaleString("en")}, loss ${loss.toPrecision(3)}`;
    }, () => running !== mine);
    progress.hidden = at.hidden = true;
    begin.hidden = false;
    hide(stop, begin);
    w = [...training.w];
    showSliders();
    show();
    const stopped = done < recipe.steps; // what it would have become is not known, also where all sums were right
    const fate = stopped ? "censored" : since === null ? "did not" : "learned";
    if (done) runs.push({ kind: kind.value, step: fate === "learned" ? since : done, fate });
    trained.textContent = `${moved}Seed ${number}, ${done.toLocaleString("en")} steps, last loss ${loss.toPrecision(3)}: ` +
      (since === null && stopped && adds(w, sums) ? `all ${sums.length} sums right now, between two looks (one every ${recipe.evaluate_every.toLocaleString("en")} steps).`
        : since === null ? `not all of ${sums.length} sums right${stopped ? " so far" : ""}.`
        : `all ${sums.length} sums right from step ${since.toLocaleString("en")} on.`) +
      (stopped ? " It was stopped, so it is censored here: neither a success nor a failure." : "") + " The sliders now have its numbers.";
    showCurve();
  }

  presets.addEventListener("change", () => {
    chosen = presets.value;
    load(preset().numbers);
  });
  kind.addEventListener("change", showCurve);
  root.append(
    element("p", { className: "lab-title" }, "Laboratory: eight, nine and fifty-seven numbers"),
    element("div", { className: "fields" }, field("Numbers from", presets), button("Reset", reset)),
    sliders, said, wave, legend, accuracy,
    element("div", { className: "fields" }, button("How far may each number move?", showIntervals)), news, interval,
    element("div", { className: "fields" }, field("Train the eight from", kind), field(`Your seed, ${data.seeds[0]} to ${data.seeds[1]}`, seed),
      begin, stop, progress, at), trained, curve,
    element("p", { className: "lab-note" },
      `The curve: the share of stored seeds that were not yet right, looked at every ${recipe.evaluate_every.toLocaleString("en")} steps, on more sums than the page has. ` +
      `A circle is a run of yours that got there, a cross one that did not by the last step, a stroke one that you stopped: it is censored. Your runs use the book's recipe and starts; their training sums are of the same kinds, ` +
      `drawn by the page's own random numbers. ${data.note}`));
  const given = settings.numbers.split(",").map(Number);
  load(settings.numbers && given.length === preset().numbers.length && given.every(Number.isFinite) ? given : preset().numbers);
  showCurve();
};

// The circle: the spectrum of the embedding by epoch, beside that of another start, and what becomes of all pairs without some
// frequencies.
bookLaboratories.circle = function (root, data, reset) {
  "use strict";
  const { button, bytes, choice, drawing, element, field, halves, hide, inSlices, label, percent, say, settingsOf } = bookLaboratories;
  const { p, d_model: D, n_heads: H, d_mlp: M } = data.config;
  const [E, K] = [D / H, (p - 1) / 2];
  const settings = settingsOf(root.id, { epoch: data.epochs.at(-1), start: 0, k: data.keys[0], mode: "remove", frequencies: data.keys.join(" ") });

  function waves(k) {
    const turn = (2 * Math.PI * k) / p;
    return [Math.cos, Math.sin].map((wave) => Float64Array.from({ length: p }, (_, x) => wave(turn * x)));
  }

  /** What of a table (p x width) is a cosine and a sine of frequency k: two vectors. */
  function project(table, width, k) {
    return waves(k).map((wave) => {
      const sum = new Float64Array(width);
      for (let x = 0; x < p; x += 1) for (let i = 0; i < width; i += 1) sum[i] += wave[x] * table[x * width + i];
      return sum;
    });
  }

  const square = (v) => v.reduce((sum, value) => sum + value * value, 0);

  /** The share of each frequency 1 ... K in the squares of a table, its mean aside. */
  function spectrum(table) {
    const power = Array.from({ length: K }, (_, i) => project(table, D, i + 1).reduce((sum, v) => sum + square(v), 0));
    const total = power.reduce((sum, value) => sum + value, 0);
    return power.map((value) => value / total);
  }

  function circle(table, k) {
    const [u, v] = project(table, D, k);
    const along = (axis) => Array.from({ length: p }, (_, x) => {
      let sum = 0;
      for (let i = 0; i < D; i += 1) sum += table[x * D + i] * axis[i];
      return sum / Math.sqrt(square(axis));
    });
    return [along(u), along(v)];
  }

  /** All logits (p x p x p) of the trained network, slice by slice: see neurons_and_logits in lab/modular/model.py. */
  class Network {
    constructor(weights) {
      const w = Object.fromEntries(Object.entries(weights).map(([name, value]) => [name, halves(value)]));
      this.logits = new Float32Array(p * p * p);
      const stream = (token, place) => Float64Array.from({ length: D }, (_, i) => w.W_E[token * D + i] + w.W_pos[place * D + i]);
      const streams = [0, 1].map((place) => Array.from({ length: p }, (_, x) => stream(x, place)));
      const last = stream(p, 2);
      const times = (x, matrix, columns, offset = 0) => {
        const y = new Float64Array(columns);
        x.forEach((value, i) => { for (let j = 0; j < columns; j += 1) y[j] += value * matrix[offset + i * columns + j]; });
        return y;
      };
      const heads = Array.from({ length: H }, (_, h) => h);
      const queries = heads.map((h) => times(last, w.W_Q, E, h * D * E));
      const seen = (x) => heads.map((h) => {
        const key = times(x, w.W_K, E, h * D * E);
        const written = times(times(x, w.W_V, E, h * D * E), w.W_O, D, h * E * D);
        return { score: queries[h].reduce((sum, q, i) => sum + q * key[i], 0) / Math.sqrt(E),
          neurons: times(written, w.W_in, M), logits: times(written, w.W_U, p) };
      });
      this.seen = [...streams.map((each) => each.map(seen)), [seen(last)]];
      this.own = { neurons: times(last, w.W_in, M), logits: times(last, w.W_U, p) };
      this.out = Array.from({ length: M }, (_, m) => times(w.W_out.subarray(m * D, (m + 1) * D), w.W_U, p));
    }

    pair(a, b) {
      const [neurons, logits] = [Float64Array.from(this.own.neurons), Float64Array.from(this.own.logits)];
      for (let h = 0; h < H; h += 1) {
        const parts = [this.seen[0][a][h], this.seen[1][b][h], this.seen[2][0][h]];
        const top = Math.max(...parts.map((part) => part.score));
        const powers = parts.map((part) => Math.exp(part.score - top));
        const total = powers[0] + powers[1] + powers[2];
        parts.forEach((part, i) => {
          const weight = powers[i] / total;
          for (let m = 0; m < M; m += 1) neurons[m] += weight * part.neurons[m];
          for (let c = 0; c < p; c += 1) logits[c] += weight * part.logits[c];
        });
      }
      for (let m = 0; m < M; m += 1) {
        if (neurons[m] <= 0) continue;
        const row = this.out[m];
        for (let c = 0; c < p; c += 1) logits[c] += neurons[m] * row[c];
      }
      this.logits.set(logits, (a * p + b) * p);
    }

    /** The mean logits of the pairs of each sum, (p x p). */
    bySum() {
      const mean = new Float64Array(p * p);
      for (let a = 0; a < p; a += 1) for (let b = 0; b < p; b += 1) {
        for (let c = 0; c < p; c += 1) mean[((a + b) % p) * p + c] += this.logits[(a * p + b) * p + c] / p;
      }
      return mean;
    }

    /** How many of all pairs are right with these frequencies' waves of a + b removed, or with only them and the constant. */
    right(mode, frequencies) {
      const mean = this.bySum();
      const part = new Float64Array(p * p);
      for (const k of frequencies) {
        const projected = project(mean, p, k);
        waves(k).forEach((wave, i) => {
          for (let s = 0; s < p; s += 1) for (let c = 0; c < p; c += 1) part[s * p + c] += (2 / p) * wave[s] * projected[i][c];
        });
      }
      const constant = new Float64Array(p);
      for (let s = 0; s < p; s += 1) for (let c = 0; c < p; c += 1) constant[c] += mean[s * p + c] / p;
      let count = 0;
      for (let a = 0; a < p; a += 1) for (let b = 0; b < p; b += 1) {
        const s = (a + b) % p;
        let [best, top] = [0, -Infinity];
        for (let c = 0; c < p; c += 1) {
          const value = mode === "keep" ? constant[c] + part[s * p + c] : this.logits[(a * p + b) * p + c] - part[s * p + c];
          if (value > top) [best, top] = [c, value];
        }
        count += best === s;
      }
      return count;
    }
  }

  /** The embedding of each stored epoch, (p x d_model): 8 bits a number, but the last, which the network has. */
  const tables = data.embeddings.map(({ scale, numbers }) => Float64Array.from(new Int8Array(bytes(numbers).buffer), (n) => n * scale))
    .concat([halves(data.weights.W_E).subarray(0, p * D)]);
  const others = data.others.map((each) => ({ ...each, spectra: each.spectra.map((text) =>
    Float64Array.from(new Uint16Array(bytes(text).buffer), (n) => n / 65535)) }));
  bookLaboratories.circleParts = { Network, circle, others, spectrum, tables };

  const named = (epoch) => `epoch ${epoch.toLocaleString("en")}`;
  const epoch = element("input", { type: "range", min: 0, max: tables.length - 1, step: 1, value: 0 });
  epoch.value = Math.max(0, data.epochs.indexOf(Number(settings.epoch)));
  const where = element("output", { "aria-hidden": "true" }); // the slider says it too
  const start = choice(others.map((each, i) => [i, each.name]), settings.start);
  const k = choice(Array.from({ length: K }, (_, i) => [i + 1, i + 1]), settings.k);
  const mode = choice([["remove", "remove these"], ["keep", "keep only these"]], settings.mode);
  const frequencies = element("input", { type: "text", value: settings.frequencies, size: 20 });
  const said = element("p", { className: "said", role: "status" });
  const result = element("p", { className: "said", role: "status" });
  const pictures = element("div", { className: "pair" });
  const progress = element("progress", { max: p * p, value: 0, hidden: true, "aria-label": "Pairs done" });
  const stop = button("Stop", () => { running += 1; });
  const ask = button("Ask all pairs", cut);
  stop.hidden = true;
  let [running, network] = [0, null];

  function picture(name, shares, plane, [x, y], marked) {
    const size = 220;
    const reach = Math.max(...x.map(Math.abs), ...y.map(Math.abs)) * 1.1 || 1;
    const tops = [...shares].map((share, i) => [share, i + 1]).sort((one, two) => two[0] - one[0]).slice(0, 5);
    const away = Array.from(x, (value, i) => Math.hypot(value, y[i])).sort((one, two) => one - two);
    const few = Math.floor(away.length / 20);
    const ring = away[few] / away.at(-1 - few);
    const words = `${name}: largest shares ${tops.map(([share, which]) => `${which} (${percent(share)})`).join(", ")}. Lower picture: ${plane}; ` +
      `but for a twentieth on either side, the nearest is ${percent(ring, 0)} as far from the centre as the farthest (a ring: 100 %; a random cloud: 13 %).`;
    const [highest, most] = tops[0];
    const left = (which) => 5 + (which - 1) * 3.7; // where a frequency's bar begins
    return element("figure", {}, drawing("svg", { viewBox: "0 0 220 330", role: "img", class: "narrow", "aria-label": words },
      ...[...shares].map((share, i) => drawing("rect", { x: left(i + 1), y: 90 - (70 * share) / highest, width: 2.6, height: (70 * share) / highest,
        class: "column", ...(i + 1 === marked ? { stroke: "currentColor", "stroke-width": 1.5 } : {}) })),
      label(left(most) + 1.3, 15, percent(highest), most < K / 4 ? "start" : most > (3 * K) / 4 ? "end" : "middle"),
      drawing("line", { x1: 4, x2: 214, y1: 90, y2: 90, class: "axis" }),
      ...Array.from({ length: Math.floor(K / 10) }, (_, i) => 10 * (i + 1)).map((which) => label(left(which) + 1.3, 104, which, "middle")),
      ...Array.from(x, (value, i) => drawing("circle", { cx: size / 2 + (value / reach) * 100, cy: 215 - (y[i] / reach) * 100, r: 2.5, class: "holds" }))),
    element("figcaption", {}, words));
  }

  function chosen() {
    return [...new Set(frequencies.value.split(/[^0-9]+/).filter(Boolean).map(Number))].filter((each) => each >= 1 && each <= K);
  }

  function keep() {
    settings.keep({ epoch: data.epochs[epoch.value], start: start.value, k: k.value, mode: mode.value, frequencies: frequencies.value });
  }

  function show() {
    const [i, other] = [Number(epoch.value), others[start.value]];
    const [shares, theirs] = [spectrum(tables[i]), other.spectra[i]];
    const ended = other.ended < data.epochs[i] ? `, ended in ${named(other.ended)}` : "";
    where.textContent = named(data.epochs[i]);
    epoch.setAttribute("aria-valuetext", where.textContent);
    say(said, `In ${where.textContent} frequency ${k.value} has ${percent(shares[k.value - 1])} of the embedding of ${data.name}, ` +
      `and ${percent(theirs[k.value - 1])} of that of ${other.name}${ended}.`);
    pictures.replaceChildren(
      picture(data.name, shares, `the ${p} numbers in the plane of frequency ${k.value}`, circle(tables[i], Number(k.value)), Number(k.value)),
      picture(other.name + ended, theirs, `its numbers at its end, the only time that is stored, in the plane of its largest frequency, ${other.k}`,
        other.circle, other.k));
    keep();
  }

  async function cut() {
    const mine = (running += 1);
    result.textContent = "";
    if (!network) {
      const made = new Network(data.weights);
      result.textContent = `Asking all ${(p * p).toLocaleString("en")} pairs …`;
      stop.hidden = progress.hidden = false;
      hide(ask, stop); // so that it is not pressed twice
      const done = await inSlices(p * p, (i) => made.pair(Math.floor(i / p), i % p), (i) => { progress.value = i; }, () => running !== mine);
      progress.hidden = true;
      ask.hidden = false;
      hide(stop, ask);
      if (done < p * p) { result.textContent = `Stopped after ${done.toLocaleString("en")} pairs: no answer.`; return; }
      network = made;
    }
    const [which, keeps] = [chosen(), mode.value === "keep"];
    const right = network.right(mode.value, which);
    const none = keeps ? "With none kept" : "With none removed";
    const outside = frequencies.value.split(/[\s,;]+/).filter((each) => each && !which.includes(Number(each)));
    result.textContent = (which.length ? `${keeps ? "With only" : "Without"} ${which.join(", ")}` : none) +
      `${outside.length ? ` (${outside.join(", ")}: no frequency from 1 to ${K})` : ""}: ${right.toLocaleString("en")} of ` +
      `${(p * p).toLocaleString("en")} pairs are right (${percent(right / p ** 2, 2)}).`;
  }

  frequencies.addEventListener("keyup", (event) => { if (event.key === "Enter") ask.click(); }); // after its "change", which stops what runs
  epoch.addEventListener("input", show);
  start.addEventListener("change", show);
  k.addEventListener("change", show);
  for (const control of [mode, frequencies]) control.addEventListener("change", () => { running += 1; result.textContent = ""; keep(); });
  const at = field("Epoch", epoch);
  at.append(where);
  root.append(
    element("p", { className: "lab-title" }, "Laboratory: the circle"),
    element("div", { className: "fields" }, at, field("Beside it", start), field(`Plane of frequency, ${data.name}`, k), button("Reset", reset)), said, pictures,
    element("div", { className: "fields" }, field("In the trained network's logits", mode), field(`Frequencies, 1 to ${K}`, frequencies),
      ask, stop, progress), result,
    element("p", { className: "lab-note" }, `Above: shares of the frequencies 1 to ${K}; below: the numbers 0 to ${p - 1} in one plane. ` +
      `Removed or kept are waves of a + b, and the constant stays. ${data.note}`));
  show();
};

// What all laboratories share: the model's forward pass, chance, and the controls of a page. Plain script: runs from disk.
const bookLaboratories = (function () {
  "use strict";

  // -- Arrays and chance ---------------------------------------------------------------------------------------------

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  }

  /** Half-precision numbers as they are stored. */
  function halves(base64) {
    const raw = new Uint16Array(bytes(base64).buffer);
    return Float64Array.from(raw, (h) => {
      const [sign, exponent, fraction] = [h >> 15 ? -1 : 1, (h >> 10) & 31, h & 1023];
      return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
    });
  }

  function softmax(logits) {
    const top = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - top));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  }

  const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

  /** Random numbers in [0, 1) from a seed (mulberry32): the same seed gives the same sums on every machine. */
  function chance(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  const logFactorials = [0];
  function logFactorial(n) {
    while (logFactorials.length <= n) logFactorials.push(logFactorials.at(-1) + Math.log(logFactorials.length));
    return logFactorials[n];
  }

  /** P(at most k of n) with probability p each. */
  function binomialBelow(k, n, p) {
    if (p <= 0) return 1;
    if (p >= 1) return k >= n ? 1 : 0;
    let sum = 0;
    for (let i = 0; i <= k; i += 1) {
      const ways = logFactorial(n) - logFactorial(i) - logFactorial(n - i);
      sum += Math.exp(ways + i * Math.log(p) + (n - i) * Math.log1p(-p));
    }
    return Math.min(1, sum);
  }

  function bisect(isLow) {
    let [low, high] = [0, 1];
    for (let i = 0; i < 50; i += 1) {
      const middle = (low + high) / 2;
      if (isLow(middle)) low = middle; else high = middle;
    }
    return (low + high) / 2;
  }

  const intervals = new Map();
  /** The exact interval of Clopper and Pearson, 95 %, for k of n: [low, high]. */
  function exactInterval(k, n) {
    const key = `${k} of ${n}`;
    if (!intervals.has(key)) {
      const low = k === 0 ? 0 : bisect((p) => 1 - binomialBelow(k - 1, n, p) < 0.025);
      const high = k === n ? 1 : bisect((p) => binomialBelow(k, n, p) > 0.025);
      intervals.set(key, [low, high]);
    }
    return intervals.get(key);
  }

  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

  // -- Sums ----------------------------------------------------------------------------------------------------------

  const COLUMNS = ["ones", "tens", "hundreds", "thousands"];
  const PLACES = ["a's hundreds", "a's tens", "a's ones", "+", "b's hundreds", "b's tens", "b's ones", "=", "answer's ones",
    "answer's tens", "answer's hundreds", "answer's thousands"];

  const place = (number, k) => Math.floor(number / 10 ** k) % 10;

  /** In how many of the three columns a + b carries. */
  function nCarries(a, b) {
    return [1, 2, 3].filter((k) => (a % 10 ** k) + (b % 10 ** k) >= 10 ** k).length;
  }

  /** The right tokens of a three-digit sum, ones first: 13 of them. */
  function sequence(a, b, tokens) {
    const sum = a + b;
    return [2, 1, 0].map((k) => place(a, k)).concat(tokens.plus, [2, 1, 0].map((k) => place(b, k)), tokens.equals,
      [0, 1, 2, 3].map((k) => place(sum, k)), tokens.eos);
  }

  // -- The model -----------------------------------------------------------------------------------------------------

  function linear(weights, x, bias) { // (outputs x inputs), (inputs) -> (outputs)
    const n = x.length;
    const y = new Float64Array(weights.length / n);
    for (let i = 0; i < y.length; i += 1) {
      let sum = bias ? bias[i] : 0;
      for (let j = 0; j < n; j += 1) sum += weights[i * n + j] * x[j];
      y[i] = sum;
    }
    return y;
  }

  const add = (x, y) => x.map((value, i) => value + y[i]);

  function layerNorm(x, scale, shift) {
    let [mean, variance] = [0, 0];
    for (const value of x) mean += value / x.length;
    for (const value of x) variance += (value - mean) ** 2 / x.length;
    const factor = 1 / Math.sqrt(variance + 1e-5);
    return x.map((value, i) => (value - mean) * factor * scale[i] + shift[i]);
  }

  /** The error function; absolute error below 1.2e-7 (Press et al., Numerical Recipes, 6.2). */
  function erf(x) {
    const t = 1 / (1 + 0.5 * Math.abs(x));
    const terms = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
      -0.82215223, 0.17087277];
    const rest = t * Math.exp(-x * x + terms.reduceRight((sum, term) => sum * t + term, 0));
    return x >= 0 ? 1 - rest : rest - 1;
  }

  const gelu = (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));

  /**
   * The AdditionTransformer of _common.py: same weights, same steps, in double precision.
   * data: {config: {d_model, n_layers, n_heads}, tensors: {name: [offset, size]}, weights: base64 of float32, of float16
   * where `half` is true}.
   */
  class Transformer {
    constructor(data) {
      const all = data.half ? halves(data.weights) : new Float32Array(bytes(data.weights).buffer);
      this.config = data.config;
      this.tensors = {};
      for (const [name, [offset, size]] of Object.entries(data.tensors)) {
        this.tensors[name] = all.subarray(offset, offset + size);
      }
    }

    _row(name, i) {
      const width = this.config.d_model;
      return Float64Array.from(this.tensors[name].subarray(i * width, (i + 1) * width));
    }

    /** What the head reads in a vector of the residual stream: V logits. */
    read(vector) {
      const w = this.tensors;
      return linear(w["token_emb.weight"], layerNorm(vector, w["ln_f.weight"], w["ln_f.bias"]));
    }

    /**
     * tokens: T ids -> {logits: T arrays of V, patterns: per layer T x T weights (head by head), streams: per depth T vectors}.
     * changes: edges [{layer, row, key}] get the weight 0; parts [{layer, part}] ("attention", "feed-forward", "layer") add
     * nothing; patch {depth, position, vector} puts a vector into the stream before layer `depth` (n_layers: after the last).
     */
    forward(tokens, changes = {}) {
      let x = tokens.map((token, t) => add(this._row("token_emb.weight", token), this._row("pos_emb.weight", t)));
      const [streams, patterns] = [[], []];
      const patched = (depth) => {
        const { patch } = changes;
        return patch && patch.depth === depth ? x.map((v, t) => (t === patch.position ? patch.vector : v)) : x;
      };
      for (let layer = 0; layer < this.config.n_layers; layer += 1) {
        const without = (part) => (changes.parts || []).some((each) => each.layer === layer && each.part === part);
        x = patched(layer);
        streams.push(x);
        const before = x;
        const { added, pattern } = this._attend(layer, x, (changes.edges || []).filter((edge) => edge.layer === layer));
        patterns.push(pattern);
        if (!without("attention")) x = x.map((v, t) => add(v, added[t]));
        if (!without("feed-forward")) x = x.map((v) => add(v, this._feedForward(layer, v)));
        if (without("layer")) x = before;
      }
      x = patched(this.config.n_layers);
      streams.push(x);
      return { logits: x.map((v) => this.read(v)), patterns, streams };
    }

    _attend(layer, x, cut) {
      const w = (name) => this.tensors[`blocks.${layer}.${name}`];
      const normed = x.map((v) => layerNorm(v, w("ln1.weight"), w("ln1.bias")));
      const [q, k, v] = ["q", "k", "v"].map((name) => normed.map((row) => linear(w(`attn.${name}.weight`), row)));
      const { n_heads: heads, d_model: width } = this.config;
      const size = width / heads;
      const pattern = [];
      const added = x.map((_, t) => {
        const mixed = new Float64Array(width);
        for (let head = 0; head < heads; head += 1) {
          const columns = Array.from({ length: size }, (__, i) => head * size + i);
          const scores = k.slice(0, t + 1).map((key) =>
            columns.reduce((sum, i) => sum + q[t][i] * key[i], 0) / Math.sqrt(size));
          const weights = softmax(scores);
          for (const edge of cut) if (edge.row === t && edge.key <= t) weights[edge.key] = 0;
          (pattern[head] ||= []).push(weights);
          weights.forEach((weight, u) => columns.forEach((i) => { mixed[i] += weight * v[u][i]; }));
        }
        return linear(w("attn.out.weight"), mixed);
      });
      return { added, pattern };
    }

    _feedForward(layer, vector) {
      const w = (name) => this.tensors[`blocks.${layer}.${name}`];
      const hidden = linear(w("ffn.up.weight"), layerNorm(vector, w("ln2.weight"), w("ln2.bias")), w("ffn.up.bias"));
      return linear(w("ffn.down.weight"), hidden.map(gelu), w("ffn.down.bias"));
    }

    /** The answer that the model writes on its own after `prompt`: n tokens and the probability it gave to each. */
    write(prompt, n, changes = {}) {
      const [tokens, sure] = [[...prompt], []];
      while (sure.length < n) {
        const p = softmax(this.forward(tokens, changes).logits.at(-1));
        tokens.push(argmax(p));
        sure.push(p[tokens.at(-1)]);
      }
      return { tokens: tokens.slice(prompt.length), sure };
    }
  }

  // -- Controls ------------------------------------------------------------------------------------------------------

  /** element("p", {className: "x", "aria-live": "polite"}, "text", child, ...) */
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value; else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function drawing(tag, attributes = {}, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /** Words in a drawing. */
  function label(x, y, words, anchor = "start") {
    const made = drawing("text", { x, y, "text-anchor": anchor });
    made.textContent = words;
    return made;
  }

  /** A select whose options are [value, text]; a value that none has, as an address may hold, selects the first. */
  function choice(options, value) {
    const made = element("select", {}, ...options.map(([v, text]) => element("option", { value: v }, text)));
    made.value = value;
    if (made.selectedIndex < 0) made.selectedIndex = 0;
    return made;
  }

  /** A button that does something. */
  function button(text, act) {
    const made = element("button", { type: "button" }, text);
    made.addEventListener("click", act);
    return made;
  }

  let fields = 0;
  /** A control under its label. */
  function field(text, control) {
    control.id = `laboratory-field-${(fields += 1)}`;
    return element("div", { className: "field" }, element("label", { htmlFor: control.id }, text), control);
  }

  /** A table with a caption; the first cell of each row heads it. */
  function table(caption, head, rows) {
    const cell = (content, i) => element(i ? "td" : "th", i ? {} : { scope: "row" }, content);
    return element("table", {}, element("caption", {}, element("span", {}, caption)), // which stays in view where its table scrolls
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell)))));
  }

  /** Write the page's address anew; in a notebook's frame, which has none of its own, do nothing. */
  function setAddress(address) {
    try { history.replaceState(null, "", address); } catch (error) { if (error.name !== "SecurityError") throw error; }
  }

  /** Settings of a laboratory that the address keeps: #lab-adder?a=123&b=456. */
  function settingsOf(id, defaults) {
    const [there, query] = location.hash.slice(1).split("?");
    const given = new URLSearchParams(there === id ? query : "");
    const settings = Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, given.get(name) ?? value]));
    return {
      ...settings,
      keep(now) {
        const changed = Object.entries(now).filter(([name, value]) => String(value) !== String(defaults[name]));
        const query = new URLSearchParams(changed).toString();
        setAddress(query ? `#${id}?${query}` : location.pathname + location.search);
      },
    };
  }

  /** Hide a control that has done its work; the focus, where it has it, goes on to `next`. */
  function hide(control, next) {
    const had = document.activeElement === control;
    control.hidden = true;
    if (had) next.focus();
  }

  /** Words into a live region, which reads them out: only where they are others than before. */
  function say(region, words) {
    if (region.textContent !== words) region.textContent = words;
  }

  /** Call step(i) for i = 0 ... n - 1 in short slices, so that the page stays alive; ends early when stopped() is true. */
  function inSlices(n, step, progress, stopped) {
    return new Promise((resolve) => {
      let i = 0;
      (function slice() {
        const start = performance.now();
        while (i < n && !stopped() && performance.now() - start < 16) step(i++);
        progress(i);
        if (i < n && !stopped()) setTimeout(slice, 0); else resolve(i);
      })();
    });
  }

  /** Build a laboratory in the page's #lab-<name>, in the place of the sentence that stood there; in print the sentence is back. */
  function start(name, build, data) {
    const root = document.getElementById(`lab-${name}`);
    if (!root) return;
    const standIn = element("div", { className: "stand-in" }, ...root.childNodes);
    const fill = () => {
      root.replaceChildren(standIn);
      build(root, data, begin);
    };
    const begin = () => {
      setAddress(location.pathname + location.search);
      fill();
      [...root.querySelectorAll("button")].find((one) => one.textContent === "Reset").focus(); // the one that was pressed is gone
    };
    root.setAttribute("role", "group");
    fill();
    root.setAttribute("aria-label", root.querySelector(".lab-title").textContent);
    if (location.hash.startsWith(`#lab-${name}?`)) root.scrollIntoView();
  }

  return {
    COLUMNS, PLACES, Transformer, add, argmax, binomialBelow, button, bytes, chance, choice, drawing, element, exactInterval,
    field, gelu, halves, hide, inSlices, label, linear, nCarries, percent, place, say, sequence, settingsOf, softmax, start,
    table,
  };
})();

// What would a regression do? The fitted rules of chapter 1 on a sum of the reader's, and what each pays for it.
bookLaboratories.regression = function (root, data, reset) {
  "use strict";
  const { argmax, button, bytes, chance, choice, element, field, linear, place, say, sequence, settingsOf, softmax, table } = bookLaboratories;
  const NAMES = ["hundreds", "tens", "ones"];
  const decoded = (rule) => ({ ...rule, weights: new Float64Array(bytes(rule.weights).buffer) });
  const [straightSum, straightDigits] = [data.sum, data.digits].map(decoded);
  const [logits, pairLogits] = [data.logit, data.pairs].map((columns) => columns.map(decoded));
  const settings = settingsOf(root.id, { a: 347, b: 285, guess: "", seed: 1 });
  const random = chance(Number(settings.seed));

  const round = (value) => { // halves to the even neighbour, as numpy
    const low = Math.floor(value);
    return value - low === 0.5 ? low + (low % 2 !== 0) : Math.round(value);
  };
  const clip = (value, top) => Math.min(top, Math.max(0, value));

  /** What each rule says of a + b. answer: digits, ones first; losses: nats of each answer token with its end, or null. */
  function predictions(a, b) {
    const digits = [a, b].flatMap((n) => [2, 1, 0].map((k) => place(n, k)));
    const right = [0, 1, 2, 3].map((k) => place(a + b, k));
    const sum = linear(straightSum.weights, digits, straightSum.intercept)[0];
    const whole = clip(round(sum), 1998);
    const each = [...linear(straightDigits.weights, digits, straightDigits.intercept)];
    const logit = (columns, pairs) => columns.map((column) => {
      const w = column.weights;
      const width = w.length / column.intercept.length;
      const on = pairs ? [0, 1, 2].map((k) => 100 * k + 10 * digits[k] + digits[3 + k]) : digits.map((digit, k) => 10 * k + digit);
      const scores = column.intercept.map((start, i) => on.reduce((total, j) => total + w[i * width + j], start));
      return column.classes.length === 2 && scores.length === 1
        ? softmax([0, scores[0]]) : softmax(scores);
    });
    const probable = (ps, columns) => ({
      answer: ps.map((p, k) => columns[k].classes[argmax(p)]),
      losses: ps.map((p, k) => -Math.log(p[columns[k].classes.indexOf(right[k])] ?? 0)).concat(0),
    });
    const tokens = sequence(a, b, data.tokens);
    const last = tokens.slice(7, 12);
    return {
      right,
      rules: [
        { name: "oracle", answer: right, losses: [0, 0, 0, 0, 0] },
        { name: "linear regression of the sum", answer: [0, 1, 2, 3].map((k) => place(whole, k)), losses: null,
          raw: sum.toFixed(2) },
        { name: "linear regression per digit", answer: each.map((value) => clip(round(value), 9)), losses: null,
          raw: each.map((value) => value.toFixed(2)).reverse().join(", ") },
        { name: "logit per digit", ...probable(logit(logits, false), logits) },
        { name: "logit with column pairs", ...probable(logit(pairLogits, true), pairLogits) },
        { name: "bigram", answer: last.slice(0, 4).map((token) => argmax(data.bigram[token])),
          losses: last.map((token, k) => -Math.log(data.bigram[token][tokens[8 + k]])) },
      ],
    };
  }
  root.predictions = predictions; // what the tests hold against the rules of the book

  const number = (value) => clip(Math.round(Number(value)) || 0, 999);
  const start = [number(settings.a), number(settings.b)];
  const sliders = start.flatMap((n) => [2, 1, 0].map((k) =>
    element("input", { type: "range", min: 0, max: 9, step: 1, value: place(n, k) })));
  const shown = sliders.map(() => element("output", { "aria-hidden": "true" }, ""));
  const guess = choice([["", "not yet"], ...[0, 1, 2, 3, 4].map((n) => [n, `${n} of 4`])], settings.guess);
  let committed = guess.value; // the guess that was given: moving through the list shows nothing
  let about = `${start}`; // the sum that it was given for
  const said = element("p", { className: "said", role: "status" });
  const results = element("div");
  const sumOf = (k) => [2, 1, 0].reduce((total, e, i) => total + Number(sliders[3 * k + i].value) * 10 ** e, 0);

  function show() {
    const [a, b] = [sumOf(0), sumOf(1)];
    sliders.forEach((slider, i) => { shown[i].textContent = slider.value; });
    settings.keep({ a, b, guess: committed, seed: settings.seed });
    if (committed === "") {
      say(said, `${a} + ${b}: how many of its four digits does the logit with column pairs get right? Guess first, and press Show.`);
      return results.replaceChildren();
    }
    const { right, rules } = predictions(a, b);
    const hits = rules[4].answer.filter((digit, k) => digit === right[k]).length;
    say(said, `${a} + ${b} = ${a + b}: the logit with column pairs gets ${hits} of the four digits right.` +
      (about === `${[a, b]}` ? ` You said ${committed}.` : ""));
    const digit = (token) => (token < 10 ? token : ["+", "=", "pad", "end"][token - 10]); // the bigram may write any token
    const written = rules.map((rule) => [rule.name,
      ...[3, 2, 1, 0].map((k) => `${digit(rule.answer[k])} ${rule.answer[k] === right[k] ? "right" : "wrong"}`), rule.raw || "–"]);
    const paid = rules.filter((rule) => rule.losses).map(({ name, losses }) => {
      const total = losses.reduce((sum, loss) => sum + loss, 0);
      return [name, ...[3, 2, 1, 0].map((k) => losses[k].toFixed(2)), total.toFixed(2), (data.floor + total / 12).toFixed(3)];
    });
    const wide = (name, made) => element("div", { className: "wide", tabIndex: 0, role: "group", "aria-label": `${name}: may be scrolled` }, made);
    return results.replaceChildren(
      wide("What each rule writes", table("What each rule writes.", ["rule", "thousands", "hundreds", "tens", "ones", "before rounding"], written)),
      wide("What the answer costs", table(`What the answer costs, in nats. The last column is the mean over all twelve targets, the five random digits at ` +
        `ln 10 each; the floor is ${data.floor.toFixed(3)}. The linear regressions give no probabilities, so they have no loss.`,
      ["rule", "thousands", "hundreds", "tens", "ones", "answer and end", "mean"], paid)));
  }

  function another() {
    for (const slider of sliders) slider.value = Math.floor(random() * 10);
    guess.value = committed = "";
    show();
    guess.focus();
  }

  function commit() {
    [committed, about] = [guess.value, `${[sumOf(0), sumOf(1)]}`];
    show();
  }

  for (const slider of sliders) slider.addEventListener("input", show);
  const digitField = (i) => {
    const made = field(`${i < 3 ? "First" : "Second"} number, ${NAMES[i % 3]}`, sliders[i]);
    made.append(shown[i]);
    return made;
  };
  root.append(
    element("p", { className: "lab-title" }, "Laboratory: what would a regression do?"),
    element("div", { className: "fields" }, ...[0, 1, 2].map(digitField)),
    element("div", { className: "fields" }, ...[3, 4, 5].map(digitField)),
    element("div", { className: "fields" }, field("Your guess: right digits of the logit with column pairs", guess),
      button("Show", commit), button("Another sum", another), button("Reset", reset)),
    said, results, element("p", { className: "lab-note" }, data.note));
  show();
};

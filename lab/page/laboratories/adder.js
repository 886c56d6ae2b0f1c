// The adder, opened: a stored model writes a sum; look into one digit of it, change something, see what becomes of it.
bookLaboratories.adder = function (root, data, reset) {
  "use strict";
  const { COLUMNS, PLACES, Transformer, argmax, chance, choice, element, exactInterval, field, hide, inSlices, nCarries, percent, say,
    sequence, settingsOf, softmax, table } = bookLaboratories;
  const N_SUMS = 300;
  const models = data.models.map((each) => new Transformer({ ...each, config: data.config, tensors: data.tensors }));
  const symbol = (token) => data.symbols[token];
  const settings = settingsOf(root.id, {
    a: 123, b: 989, model: 0, column: 0, change: "nothing", layer: 0, key: 6, a2: 123, b2: 984, carries: 3, seed: 1,
  });

  const number = (value) => element("input", { type: "number", min: 0, max: 999, step: 1, value, inputMode: "numeric" });
  const controls = {
    a: number(settings.a),
    b: number(settings.b),
    model: choice(data.models.map((each, i) => [i, each.name]), settings.model),
    column: choice(COLUMNS.map((name, i) => [i, name]), settings.column),
    change: choice([["nothing", "nothing"], ["edge", "cut one edge of attention"], ["attention", "take the attention of a layer away"],
      ["feed-forward", "take the feed-forward part away"], ["layer", "take a whole layer away"],
      ["patch", "put in a vector from another sum"]], settings.change),
    layer: choice([[0, "layer 1"], [1, "layer 2"]], settings.layer),
    key: choice(PLACES.map((name, i) => [i, name]), settings.key),
    a2: number(settings.a2),
    b2: number(settings.b2),
    carries: choice([0, 1, 2, 3].map((n) => [n, `${n} ${n === 1 ? "carry" : "carries"}`]), settings.carries),
  };
  const fields = {
    layer: field("Where", controls.layer),
    key: field("Which position is cut off, or replaced", controls.key),
    a2: field("First number of the other sum", controls.a2),
    b2: field("Second number of the other sum", controls.b2),
  };
  const said = element("p", { className: "said", role: "status" });
  const [answer, inside, experiment] = [element("div"), element("div"), element("div")];
  const effect = element("p", { className: "said", role: "status" });
  const many = element("p", { className: "said", role: "status" });
  const progress = element("progress", { max: N_SUMS, value: 0, hidden: true, "aria-label": "Sums done" });
  const run = element("button", { type: "button" }, `The same on ${N_SUMS} sums`);
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  let running = 0; // the number of the run in progress; a change of settings or "Stop" raises it

  const value = (name) => Number(controls[name].value);
  const operand = (name) => Math.min(999, Math.max(0, Math.round(value(name)) || 0));

  function changes(model, row) {
    const [layer, key] = [value("layer"), value("key")];
    switch (controls.change.value) {
      case "nothing": return {};
      case "edge": return { edges: [{ layer, row, key }] };
      case "patch": {
        const other = sequence(operand("a2"), operand("b2"), data.tokens).slice(0, 12);
        return { patch: { depth: layer, position: key, vector: model.forward(other).streams[layer][key] } };
      }
      default: return { parts: [{ layer, part: controls.change.value }] };
    }
  }

  function showAnswer(model, a, b) {
    const right = sequence(a, b, data.tokens);
    const { tokens, sure } = model.write(right.slice(0, 8), 5);
    const written = tokens.slice(0, 4).map(symbol).reverse().join("");
    const isRight = tokens.every((token, k) => token === right[8 + k]);
    say(said, `${a} + ${b}: the model writes ${written.replace(/^0(?=\d)/, "")}, which is ` +
      (isRight ? "right." : `wrong; the sum is ${a + b}.`));
    answer.replaceChildren(table("What it writes, one token after the other, ones first.",
      ["column", "written", "probability", "right?"],
      tokens.map((token, k) => [COLUMNS[k] || "end", symbol(token), percent(sure[k], 2),
        token === right[8 + k] ? "yes" : `no: ${symbol(right[8 + k])}`])));
  }

  function bar(weight) {
    const made = element("span", { className: "bar", "aria-hidden": "true" });
    made.style.setProperty("--share", weight);
    return element("span", { className: "with-bar" }, weight.toFixed(3), made);
  }

  function showInside(model, a, b, row) {
    const { patterns, streams } = model.forward(sequence(a, b, data.tokens).slice(0, 12));
    const inputs = sequence(a, b, data.tokens).slice(0, row + 1);
    const readings = streams.map((stream, depth) => {
      const p = softmax(model.read(stream[row]));
      return [depth ? `after layer ${depth}` : "before layer 1", symbol(argmax(p)), percent(Math.max(...p), 1)];
    });
    inside.replaceChildren(
      table(`Where the position that predicts the ${COLUMNS[row - 7]} looks: its attention weights, which sum to 1.`,
        ["position", "token", "layer 1", "layer 2"],
        inputs.map((token, u) => [PLACES[u], symbol(token), bar(patterns[0][0][row][u]), bar(patterns[1][0][row][u])])),
      table("What the output head would read at this position if the model ended there.",
        ["where", "likeliest token", "probability"], readings));
  }

  function showExperiment(model, a, b, row) {
    if (controls.change.value === "nothing") {
      say(effect, "");
      return experiment.replaceChildren();
    }
    const all = sequence(a, b, data.tokens);
    const [tokens, right] = [all.slice(0, 12), all[row + 1]];
    const before = softmax(model.forward(tokens).logits[row]);
    const changed = COLUMNS.map((_, k) => softmax(model.forward(tokens, changes(model, 7 + k)).logits[7 + k]));
    const after = changed[row - 7];
    const each = COLUMNS.map((name, k) => [name, argmax(changed[k]), all[8 + k]]);
    const reaches = fields.key.hidden || value("key") <= row; // a row sees no later position
    say(effect, (reaches ? "" : `The row of the ${COLUMNS[row - 7]} sees no position after "${PLACES[row]}": this change cannot reach it. `) +
      `With the change the ${COLUMNS[row - 7]} digit is ${symbol(argmax(after))} (${percent(Math.max(...after))}), ` +
      `${argmax(after) === right ? "right" : "wrong"}; without it ${symbol(argmax(before))}. All four, each after right digits: ` +
      `${each.map(([name, token, wanted]) => `${name} ${symbol(token)}${token === wanted ? "" : ", wrong"}`).join("; ")}.`);
    return experiment.replaceChildren(table(`The ${COLUMNS[row - 7]} digit, before and after the change (right: ${symbol(right)}).`,
      ["model", "likeliest", "its probability", "probability of the right digit"],
      [["as it is", before], ["changed", after]].map(([name, p]) =>
        [name, symbol(argmax(p)), percent(Math.max(...p), 2), percent(p[right], 2)])));
  }

  function show() {
    running += 1;
    const [model, row] = [models[value("model")], 7 + value("column")];
    const kind = controls.change.value;
    fields.layer.hidden = kind === "nothing";
    fields.key.hidden = kind !== "edge" && kind !== "patch";
    fields.a2.hidden = fields.b2.hidden = kind !== "patch";
    showAnswer(model, operand("a"), operand("b"));
    showInside(model, operand("a"), operand("b"), row);
    showExperiment(model, operand("a"), operand("b"), row);
    many.textContent = "";
    settings.keep({ ...Object.fromEntries(Object.keys(controls).map((name) => [name, controls[name].value])), seed: settings.seed });
  }

  /** What chapter 6 counted with this cut, or "" where it did not look: [count of right digits, of how many]. */
  function stored(column, carries) {
    const [kind, { cuts }] = [controls.change.value, data.models[value("model")]];
    const where = kind === "edge" ? [value("layer"), 7 + column, value("key")] : [value("layer"), column];
    const counts = cuts && cuts.counts[[kind, ...where].join(",")];
    return counts ? [counts[carries], cuts.n] : null;
  }

  async function runMany() {
    const mine = (running += 1);
    const [model, row, carries] = [models[value("model")], 7 + value("column"), value("carries")];
    const change = changes(model, row);
    const random = chance(Number(settings.seed));
    let [before, after] = [0, 0];
    stop.hidden = progress.hidden = false;
    hide(run, stop);
    const done = await inSlices(N_SUMS, () => {
      let [a, b] = [0, 0];
      do [a, b] = [Math.floor(random() * 1000), Math.floor(random() * 1000)]; while (nCarries(a, b) !== carries);
      const tokens = sequence(a, b, data.tokens);
      before += argmax(model.forward(tokens.slice(0, row + 1)).logits[row]) === tokens[row + 1];
      after += argmax(model.forward(tokens.slice(0, 12), change).logits[row]) === tokens[row + 1];
    }, (i) => { progress.value = i; }, () => running !== mine);
    run.hidden = false;
    progress.hidden = true;
    hide(stop, run);
    const share = (k, n = done) => `${k} of ${n} (${exactInterval(k, n).map((p) => percent(p)).join(" to ")})`;
    const book = stored(value("column"), carries);
    if (done) {
      many.textContent = (done < N_SUMS ? `Stopped after ${done} of ${N_SUMS} sums. ` : "") + `With ${carries} ${carries === 1 ? "carry" : "carries"}, the ${COLUMNS[row - 7]} digit is right in ` +
        `${share(before)} of the sums as the model is` + (controls.change.value === "nothing" ? ". " : `, and in ${share(after)} after the change. `) +
        (book ? `The book's own figure for this cut, in chapter 6: ${share(...book)}. ` : "") + "The intervals are exact, 95 %.";
    }
  }

  for (const [name, control] of Object.entries(controls)) {
    control.addEventListener("change", show);
    if (control.type !== "number") continue;
    control.addEventListener("input", show);
    control.addEventListener("change", () => { control.value = operand(name); });
  }
  run.addEventListener("click", runMany);
  stop.addEventListener("click", () => { running += 1; });
  const again = element("button", { type: "button" }, "Reset");
  again.addEventListener("click", reset);

  root.append(
    element("p", { className: "lab-title" }, "Laboratory: the adder, opened"),
    element("div", { className: "fields" }, field("First number", controls.a), field("Second number", controls.b),
      field("Model", controls.model), again),
    said, answer,
    element("div", { className: "fields" }, field("Open the digit in column", controls.column)), inside,
    element("div", { className: "fields" }, field("Change", controls.change), fields.layer, fields.key, fields.a2, fields.b2),
    effect, experiment,
    element("div", { className: "fields" }, field("Sums with", controls.carries), run, stop, progress), many,
    element("p", { className: "lab-note" }, data.note));
  show();
};

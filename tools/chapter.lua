-- Shared by both builds: what the book adds to the Markdown before cross-references are resolved.
-- 1. an exercise shows its difficulty and minutes beside its title;
-- 2. a chapter links its notebooks under its title (the instructor edition also those with solutions);
-- 3. a page is described by its first paragraph (or its takeaway), and its footer told the day;
-- 4. `.predict`, `.try`, `.question` and `.answer` blocks get their titles, and fold what answers (<details>);
-- 5. a claim that a reader's own runs contradict is marked as contradicted;
-- 6. a page with a laboratory loads its script (lab/page/laboratories), and says in its place what stands there without;
-- 7. checks are in no page, and solutions only in the instructor edition: whatever the format, they are dropped here.
-- Quarto runs it at its entry point `pre-ast` (see _quarto.yml), pandoc with --lua-filter: plain pandoc nodes both times.

local LEVELS = { ["1"] = "easy", ["2"] = "middling", ["3"] = "hard" }

local function difficulty_and_minutes(difficulty, minutes)
  local stars = string.rep("★", tonumber(difficulty)) .. string.rep("☆", 3 - tonumber(difficulty))
  return pandoc.Para({ pandoc.Span({
    pandoc.Span({ pandoc.Str(stars) }, pandoc.Attr("", { "stars" }, { ["aria-hidden"] = "true" })),
    pandoc.Space(),
    pandoc.Str(LEVELS[difficulty] .. ", about " .. minutes .. (minutes == "1" and " minute" or " minutes")),
  }, pandoc.Attr("", { "effort" })) })
end

local function is_instructor_edition()
  return ("," .. (os.getenv("QUARTO_PROFILE") or "") .. ","):find(",instructor,", 1, true) ~= nil
end

local function is_secret(element)
  if element.classes:includes("check") or element.classes:includes("content-hidden") then
    return true
  end
  local is_solution = element.identifier:match("^sol%-") or element.classes:includes("solution")
    or element.attributes["when-profile"] == "instructor"
  return is_solution and not is_instructor_edition()
end

function CodeBlock(block)
  return is_secret(block) and {} or nil
end

-- Pages and EPUB fold; in a format without <details> the same words stand one below the other. ("json": tools/pandoc_book.py.)
-- The summary stays ordinary text: its formulas and references become what they become elsewhere.
local CAN_FOLD = FORMAT == "json" or FORMAT:match("html") ~= nil or FORMAT:match("epub") ~= nil

local function folded(class, summary, blocks)
  if not CAN_FOLD then
    blocks:insert(1, pandoc.Para({ pandoc.Strong(summary) }))
    return blocks
  end
  local all = pandoc.List({ pandoc.RawBlock("html", '<details class="' .. class .. '"><summary>'), pandoc.Plain(summary),
    pandoc.RawBlock("html", "</summary>") })
  all:extend(blocks)
  all:insert(pandoc.RawBlock("html", "</details>"))
  return all
end

local function titled(div, title)
  div.attributes["title"] = nil
  div.content:insert(1, pandoc.Para({ pandoc.Strong({ pandoc.Str(title) }) }))
  return div
end

-- The blocks in which a reader does something. Blocks within blocks come first.
local function readers_block(div)
  if div.classes:includes("answer") then
    return folded("answer", { pandoc.Str("What happened, and what the author had guessed") }, div.content)
  elseif div.classes:includes("predict") then
    return titled(div, "Predict before you look")
  elseif div.classes:includes("try") then
    return titled(div, "Try it: " .. (div.attributes["title"] or ""))
  elseif div.classes:includes("question") and div.content[1] then
    local question = div.content:remove(1).content
    return folded("question", question, div.content)
  end
end

function Div(div)
  if is_secret(div) then
    return {}
  end
  local block = readers_block(div)
  if block then
    return block
  end
  local difficulty, minutes = div.attributes["difficulty"], div.attributes["minutes"]
  if not (div.identifier:match("^exr%-") and LEVELS[difficulty] and minutes) then
    return nil
  end
  div.attributes["difficulty"], div.attributes["minutes"] = nil, nil
  local first = div.content[1]
  div.content:insert((first and first.t == "Header") and 2 or 1, difficulty_and_minutes(difficulty, minutes))
  return div
end

-- The numbered chapters have notebooks ("chapters/01-the-problem.qmd"); preface, appendices and references have none.
local function notebook_stem(meta)
  local file = quarto and quarto.doc.input_file or pandoc.utils.stringify(meta["book-chapter"] or "")
  return file:gsub("\\", "/"):match("chapters/(%d%d%-[^/]+)%.%a+$")
end

-- The first sentence of a page's takeaway, else of its text, tells search engines and previews of links what it is about.
local function description(blocks)
  local paragraph
  for _, block in ipairs(blocks) do
    if block.t == "Div" and block.attributes.title == "Takeaway" then
      paragraph = block
      break
    end
    paragraph = paragraph or (block.t == "Para" and block)
  end
  local text = paragraph and pandoc.utils.stringify(paragraph)
  return text and (text:match("^.-[%.!?]%f[%s%z]") or text)
end

-- A check that failed on a reader's own runs leaves an empty block that names its sentence (lab/page/record.py).
local function mark_contradicted(doc)
  local contradicted = {}
  doc = doc:walk({ Div = function(div)
    if div.classes:includes("contradicted") then
      contradicted[div.attributes["claim"]] = true
      return {}
    end
  end })
  return doc:walk({ Div = function(div)
    if div.classes:includes("claim") and contradicted[div.identifier] then
      div.classes = pandoc.List({ "claim-contradicted" })
      div.content:insert(pandoc.Para({ pandoc.Strong({ pandoc.Str("Contradicted by your runs.") }) }))
      return div
    end
  end })
end

-- A laboratory is built by a script, in the place of the sentence that stands in its block.
local function with_laboratories(doc)
  local names = pandoc.List({})
  doc:walk({ Div = function(div)
    local name = div.classes:includes("laboratory") and div.identifier:match("^lab%-(%l+)$")
    if name then names:insert(name) end
  end })
  for _, name in ipairs(names) do
    doc.blocks:insert(pandoc.RawBlock("html", '<script src="../downloads/laboratories/' .. name .. '.js"></script>'))
  end
  return doc
end

function Pandoc(doc)
  doc = mark_contradicted(doc)
  doc.meta["description-meta"] = doc.meta["description-meta"] or description(doc.blocks)
  doc.meta.built = os.date("%Y-%m-%d") -- for the pages' footer
  local stem = notebook_stem(doc.meta)
  local is_page = not quarto or quarto.doc.is_format("html:js") -- elsewhere there is nothing to link to
  if not stem or not is_page then
    return doc
  end
  doc = with_laboratories(doc)
  local line = { pandoc.Str("Read it, or run it: "),
    pandoc.Link("notebook of this chapter", "../downloads/" .. stem .. ".ipynb") }
  if is_instructor_edition() then
    table.insert(line, pandoc.Str(" · "))
    table.insert(line, pandoc.Link("with solutions", "../downloads/solutions/" .. stem .. ".ipynb"))
  end
  local first = doc.blocks[1]
  doc.blocks:insert((first and first.t == "Header") and 2 or 1,
    pandoc.Div({ pandoc.Para(line) }, pandoc.Attr("", { "notebook-link" })))
  return doc
end

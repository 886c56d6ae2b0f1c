-- Shared by both builds: what the book adds to the Markdown before cross-references are resolved.
-- 1. an exercise shows its difficulty and minutes beside its title;
-- 2. a chapter links its notebooks under its title (the instructor edition also those with solutions);
-- 3. a page is described by its first paragraph (or its takeaway), and its footer told the day;
-- 4. `.predict`, `.try`, `.question` and `.answer` blocks get their titles, and fold what answers (<details>);
-- 5. a claim that a reader's own runs contradict is marked as contradicted;
-- 6. a laboratory says where its script is (lab/page/laboratories), and in its place stands what is seen without;
-- 7. checks are in no page, and solutions only in the instructor edition: whatever the format, they are dropped here;
-- 8. the first use of each word of the glossary links to it, with its meaning as a note;
-- 9. a table without a number gets a box to scroll in.
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

local function CodeBlock(block)
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

local function Div(div)
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

-- The source of the page, with forward slashes.
local function source_file(meta)
  local file = quarto and quarto.doc.input_file or pandoc.utils.stringify(meta["book-chapter"] or "")
  return (file:gsub("\\", "/"))
end

local function is_page()
  return not quarto or quarto.doc.is_format("html:js") -- elsewhere all chapters are one file
end

-- The numbered chapters have notebooks ("chapters/01-the-problem.qmd"); preface, appendices and references have none.
local function notebook_stem(meta)
  return source_file(meta):match("chapters/(%d%d%-[^/]+)%.%a+$")
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

-- A laboratory is built by a script, in the place of what stands in its block: figures/theme/laboratories.html loads it.
local function with_laboratories(doc)
  return doc:walk({ Div = function(div)
    local name = div.classes:includes("laboratory") and div.identifier:match("^lab%-(%l+)$")
    if name then
      div.attributes["data-script"] = "../downloads/laboratories/" .. name .. ".js"
      return div
    end
  end })
end

local function Pandoc(doc)
  doc = mark_contradicted(doc)
  doc.meta["description-meta"] = doc.meta["description-meta"] or description(doc.blocks)
  doc.meta.built = os.date("%Y-%m-%d") -- for the pages' footer
  local stem = notebook_stem(doc.meta)
  if not stem or not is_page() then -- elsewhere there is nothing to link to
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

-- Words of the glossary. An entry is a block of chapters/glossary.qmd:
--   ::: {.entry #trm-carry words="carry"}
--   **Carry.** The one that a column of ten or more sends to the next. @sec-why.
-- Its first use on a page is the first mark, [carried]{.term of="carry"}; on a page without one, what comes first of its
-- name in bold and its `words`.
local GLOSSARY = "chapters/glossary.qmd"
local NOT_HERE = { "predict", "question", "laboratory", "cell", "entry", "cell-output", "content-hidden", "content-visible" }

local function plain(text)
  return (pandoc.text.lower(text):gsub("^[%p%s]+", ""):gsub("[%p%s]+$", ""))
end

local function split(text, pattern)
  local parts = pandoc.List({})
  for part in text:gmatch(pattern) do parts:insert(part) end
  return parts
end

-- Entries by identifier ("carry"), by name, and by the first of their words, the longest words first.
local function read_glossary()
  local folder = quarto and quarto.project and quarto.project.directory
  local file = io.open(folder and pandoc.path.join({ folder, GLOSSARY }) or GLOSSARY)
  if not file then return nil end
  local glossary = { by_id = {}, by_name = {}, by_first = {} }
  local source = pandoc.read(file:read("a"), "markdown")
  file:close()
  source:walk({ Div = function(div)
    if not div.classes:includes("entry") then return nil end
    local name, note = "", pandoc.List({})
    for _, inline in ipairs(div.content[1].content) do
      if inline.t == "Cite" then break end
      if inline.t == "Strong" and name == "" then name = pandoc.utils.stringify(inline) else note:insert(inline) end
    end
    local entry = { id = div.identifier, note = pandoc.utils.stringify(note):gsub("^%s+", ""):gsub("%s+$", "") }
    glossary.by_id[entry.id:gsub("^trm%-", "")] = entry
    glossary.by_name[plain(name)] = entry
    for _, phrase in ipairs(split(div.attributes.words or "", "[^,]+")) do
      glossary.by_name[plain(phrase)] = entry
      local words = split(plain(phrase), "%S+")
      local others = glossary.by_first[words[1]] or pandoc.List({})
      others:insert({ words = words, entry = entry })
      others:sort(function(a, b) return #a.words > #b.words end)
      glossary.by_first[words[1]] = others
    end
  end })
  return glossary
end

-- A word as it stands in the text: what opens before it, itself, what closes after it ("(carry)," or "run's").
local function take_apart(text)
  return text:match("^([%(%[]*)(.-)([%.,;:!%?%)%]]*)$")
end

local TermLinker = {}
TermLinker.__index = TermLinker

function TermLinker:link(entry, inlines, is_mark)
  if self.linked:includes(entry.id) or (self.marked[entry.id] and not is_mark) then return nil end
  self.linked:insert(entry.id)
  local page = is_page() and self.page or ""
  return pandoc.Link(inlines, page .. "#" .. entry.id, "", pandoc.Attr("", { "term" }, { ["data-note"] = entry.note }))
end

-- If a phrase of the glossary begins at inlines[i]: how many inlines it takes, and what takes their place.
function TermLinker:phrase_at(inlines, i)
  local before, first, after = take_apart(inlines[i].text)
  for _, phrase in ipairs(self.glossary.by_first[pandoc.text.lower(first or "")] or {}) do
    local position, matches, content = i, true, pandoc.List({ pandoc.Str(first) })
    for k = 2, #phrase.words do
      local space, word = inlines[position + 1], inlines[position + 2]
      local opened, core, closed
      if word and word.t == "Str" and (space.t == "Space" or space.t == "SoftBreak") then
        opened, core, closed = take_apart(word.text)
      end
      matches = matches and after == "" and opened == "" and pandoc.text.lower(core or "") == phrase.words[k]
      if not matches then break end
      content:extend({ space, pandoc.Str(core) })
      position, after = position + 2, closed
    end
    local link = matches and self:link(phrase.entry, content)
    if link then
      local made = pandoc.List({ link })
      if before ~= "" then made:insert(1, pandoc.Str(before)) end
      if after ~= "" then made:insert(pandoc.Str(after)) end
      return position - i + 1, made
    end
    _, first, after = take_apart(inlines[i].text)
    if matches then break end -- the longest phrase is the word that was meant
  end
end

function TermLinker:entry_of(span)
  local text = plain(pandoc.utils.stringify(span))
  return self.glossary.by_id[span.attributes["of"] or ""] or self.glossary.by_name[text]
    or self.glossary.by_id[(text:gsub("%s+", "-"))]
end

function TermLinker:mark(span)
  local entry = self:entry_of(span)
  local link = entry and self:link(entry, span.content, true)
  return link and pandoc.List({ link }) or span.content
end

local function has_mark(inlines)
  return inlines:find_if(function(inline) return inline.t == "Span" and inline.classes:includes("term") end) ~= nil
end

function TermLinker:inlines(inlines)
  local made, i = pandoc.List({}), 1
  while i <= #inlines do
    local inline, taken, put = inlines[i], 1, nil
    if inline.t == "Str" then
      taken, put = self:phrase_at(inlines, i)
    elseif inline.t == "Span" and inline.classes:includes("term") then
      put = self:mark(inline)
    elseif inline.t == "Strong" then
      local entry = self.glossary.by_name[plain(pandoc.utils.stringify(inline))]
      local link = entry and not has_mark(inline.content) and self:link(entry, inline.content)
      inline.content = link and { link } or self:inlines(inline.content)
    elseif inline.t == "Emph" or inline.t == "Quoted" then
      inline.content = self:inlines(inline.content)
    end
    made:extend(put or { inline })
    i = i + (put and taken or 1)
  end
  return made
end

local function is_text(div)
  for _, class in ipairs(NOT_HERE) do
    if div.classes:includes(class) then return false end
  end
  return not div.identifier:match("^%l%l%l%-") or div.classes:includes("claim")
end

function TermLinker:blocks(blocks)
  for _, block in ipairs(blocks) do
    if block.t == "Para" or block.t == "Plain" then
      block.content = self:inlines(block.content)
    elseif block.t == "BulletList" or block.t == "OrderedList" then
      for _, item in ipairs(block.content) do self:blocks(item) end
    elseif block.t == "Div" and is_text(block) then
      self:blocks(block.content)
    end
  end
  return blocks
end

local function link_terms(doc)
  local glossary = read_glossary()
  if not glossary then return nil end
  local file = source_file(doc.meta)
  local page = file:match("chapters/[^/]+$") and "glossary.qmd" or GLOSSARY
  local linker = setmetatable({ glossary = glossary, page = page, linked = pandoc.List({}), marked = {} }, TermLinker)
  doc:walk({ Span = function(span)
    local entry = span.classes:includes("term") and linker:entry_of(span)
    if entry then linker.marked[entry.id] = true end
  end })
  if not file:match("glossary%.%a+$") then
    doc.blocks = linker:blocks(doc.blocks)
  end
  return doc:walk({ -- marks in other places are plain words
    Span = function(span) return span.classes:includes("term") and span.content or nil end,
    Div = function(div)
      if div.classes:includes("entry") then
        div.attributes["words"] = nil
        return div
      end
    end,
  })
end

-- Quarto gives this box to no table that a chapter writes out; pandoc's pages have theirs from tools/pandoc_book.py.
local with_table_boxes = {
  traverse = "topdown",
  Div = function(div)
    if div.classes:includes("cell") then return div, false end
  end,
  Table = function(tbl)
    if quarto and is_page() and #tbl.caption.long == 0 then
      return pandoc.Div({ tbl }, pandoc.Attr("", { "table-scroll" })), false
    end
  end,
}

-- A number and its sign of per cent stay on one line, also in narrow tables.
local function keep_per_cent(inlines)
  for i = 2, #inlines - 1 do
    local before, after = inlines[i - 1], inlines[i + 1]
    if inlines[i].t == "Space" and before.t == "Str" and before.text:match("%d$")
      and after.t == "Str" and after.text:match("^%%") then
      inlines[i] = pandoc.Str("\u{a0}")
    end
  end
  return inlines
end

return { with_table_boxes, { Pandoc = link_terms }, { CodeBlock = CodeBlock, Div = Div, Pandoc = Pandoc },
  { Inlines = keep_per_cent } }

-- Shared by both builds: what the book adds to the Markdown before cross-references are resolved.
-- 1. an exercise shows its difficulty and minutes beside its title;
-- 2. a chapter links its notebooks under its title (the instructor edition also those with solutions).
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

function Div(div)
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

function Pandoc(doc)
  local stem = notebook_stem(doc.meta)
  if not stem then
    return nil
  end
  local line = { pandoc.Str("Read it, or run it: "),
    pandoc.Link("notebook of this chapter", "../downloads/" .. stem .. ".ipynb") }
  if os.getenv("QUARTO_PROFILE") == "instructor" then
    table.insert(line, pandoc.Str(" · "))
    table.insert(line, pandoc.Link("with solutions", "../downloads/solutions/" .. stem .. ".ipynb"))
  end
  local first = doc.blocks[1]
  doc.blocks:insert((first and first.t == "Header") and 2 or 1,
    pandoc.Div({ pandoc.Para(line) }, pandoc.Attr("", { "notebook-link" })))
  return doc
end

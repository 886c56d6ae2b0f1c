-- Run by Quarto at its entry point `post-render` (see _quarto.yml): it gives the div around a figure the alt text of its
-- image, and in an EPUB a div may have none (epubcheck).
return { { Div = function(div)
  if FORMAT:match("epub") and div.attributes["alt"] then
    div.attributes["alt"] = nil
    return div
  end
end } }

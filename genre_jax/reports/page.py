"""HTML of a report: the page template, tables, and rows of pictures."""

import html

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 1250px; margin: 0 auto; padding: 0 16px 64px; }}
h1 {{ font-size: 1.6rem; margin: 24px 0 4px; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.3rem; margin: 48px 0 4px; border-top: 2px solid #0072B2; padding-top: 12px; }}
h3 {{ font-size: 1.05rem; margin: 28px 0 4px; }}
p {{ max-width: 46rem; margin: 4px 0 12px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }}
th, td {{ padding: 4px 12px 4px 0; text-align: left; border-bottom: 1px solid #ddd;
  white-space: nowrap; }}
th {{ white-space: normal; vertical-align: bottom; }}
td.n, th.n {{ text-align: right; }}
.pictures {{ display: flex; flex-wrap: wrap; gap: 16px 24px; align-items: flex-start;
  margin-top: 12px; }}
figure {{ margin: 0; width: min(100%, 390px); }}
figure.large {{ width: min(100%, 500px); }}
img {{ width: 100%; height: auto; display: block; }}
figcaption {{ font-size: 0.88rem; color: #333; margin-bottom: 4px; overflow-wrap: anywhere; }}
@media (max-width: 600px) {{
  table {{ font-size: 0.74rem; }}
  th, td {{ padding-right: 7px; }}
  td.n {{ white-space: normal; }}
  h2 {{ margin-top: 32px; }}
}}
.notice {{ border-left: 4px solid #D55E00; padding-left: 12px; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def html_table(header: list[str], rows: list[list[str]], words: int) -> str:
  """Return an HTML table.

  Args:
    header: Titles of the columns.
    rows: Cells as text; they are escaped.
    words: Number of leading columns that are text; the others are numbers, aligned right.
  """

  def line(cells, tag):
    return (
      "<tr>"
      + "".join(
        f"<{tag}{'' if i < words else ' class=n'}>{html.escape(cell)}</{tag}>"
        for i, cell in enumerate(cells)
      )
      + "</tr>"
    )

  return (
    "<div class=wide><table>"
    + line(header, "th")
    + "\n".join(line(row, "td") for row in rows)
    + "</table></div>"
  )


def html_pictures(pictures: list[tuple[str, str, str]], large: bool = False) -> str:
  """Return HTML that shows pictures side by side where the screen is wide enough.

  Args:
    pictures: (data URI, alternative text, caption) of each; an empty caption is left out.
    large: Draw pictures wider.
  """
  return (
    "<div class=pictures>"
    + "\n".join(
      f"<figure{' class=large' if large else ''}>"
      + (f"<figcaption>{html.escape(caption)}</figcaption>" if caption else "")
      + f'<img src="{uri}" alt="{html.escape(text, quote=True)}"></figure>'
      for uri, text, caption in pictures
    )
    + "</div>"
  )

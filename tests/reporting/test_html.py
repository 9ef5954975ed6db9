"""Flags and paths in the HTML of the report."""

from m3net_jax.reporting import html as report_html


def test_flags_are_whole_and_names_of_files_break_after_their_parts():
  text = report_html.flags(
    'as in (--variants=full,no_ma) or python -m a.b, from -1 to 1, by-identical <b>'
  )
  assert text == (
    'as in (<span class="flag">--variants=</span>full,<wbr>no_ma) or python '
    '<span class="flag">-m</span> a.b, from <span class="flag">-1</span> to 1, by-identical '
    '&lt;b&gt;'
  )
  assert report_html.path('a/b_c.wav<') == 'a/<wbr>b_<wbr>c.wav&lt;'

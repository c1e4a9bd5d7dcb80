"""The report: one HTML file of a run or a sweep, interactive, with nothing fetched from elsewhere.

Figures are Vega-Lite specifications. Vega draws them in the browser, from code that is embedded in
the file; where JavaScript is off, the file shows pictures that Vega made beforehand. Every colour
of text and lines is the page's own, so that light, dark and print are the style sheet's business.
"""

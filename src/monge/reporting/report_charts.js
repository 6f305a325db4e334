// Draws each chart of the report from the JSON beside it, and again at the width of the paper when the page is printed.
const charts = document.querySelectorAll("figure[data-chart]");
for (const figure of charts) {
  const specification = JSON.parse(document.getElementById("chart-" + figure.dataset.chart).textContent);
  Plotly.newPlot(figure.querySelector(".chart"), specification.data, specification.layout, { responsive: true, displayModeBar: false });
}
const redraw = () => { for (const figure of charts) Plotly.Plots.resize(figure.querySelector(".chart")); };
addEventListener("beforeprint", redraw);
addEventListener("afterprint", redraw);

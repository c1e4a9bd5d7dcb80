// Draws every figure from its specification; one that fails keeps its still picture.
(function () {
  var specs = JSON.parse(document.getElementById("specs").textContent);
  document.querySelectorAll("figure[data-figure]").forEach(function (figure) {
    var chart = figure.querySelector(".chart");
    window.vegaEmbed(chart, specs[figure.dataset.figure], { actions: false, renderer: "svg" })
      .then(function () { figure.classList.add("js"); })
      .catch(function (error) { console.error(figure.dataset.figure + ": " + error); });
  });
})();

/* Draws each table with `data-cus-chart` by Chart.js, which the theme loads on every page.

The first column has the labels, each other column is a series, and `data-value` of a cell is its
number. What a tooltip says is the text of the cell, so the drawing can't differ from the table. */
(() => {
    "use strict";

    const COLORS = ["#9333ea", "#0ea5e9", "#f59e0b", "#10b981", "#ef4444", "#64748b", "#ec4899"];
    const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
    const TICKS = {
        dollars: (value) => `$${compact.format(value)}`,
        count: (value) => compact.format(value),
        percent: (value) => `${compact.format(value)} %`,
        ms: (value) => `${compact.format(value)} ms`,
    };
    const charts = [];

    function columns(table) {
        const rows = [...table.tBodies[0].rows];
        const heads = [...table.tHead.rows[0].cells].slice(1);
        return heads.map((head, place) => {
            const cells = rows.map((row) => row.cells[place + 1]);
            return {
                label: head.textContent.trim(),
                isProjected: "projected" in head.dataset,
                data: cells.map((cell) => (cell.dataset.value === "" ? null : Number(cell.dataset.value))),
                texts: cells.map((cell) => cell.textContent.trim()),
            };
        });
    }

    function datasets(table) {
        const isBars = table.dataset.cusChart === "bars";
        return columns(table).map((column, place) => ({
            ...column,
            backgroundColor: COLORS[place % COLORS.length],
            borderColor: COLORS[place % COLORS.length],
            borderDash: column.isProjected ? [6, 4] : [],
            borderWidth: isBars ? 0 : 2,
            pointRadius: isBars ? 0 : 2,
            pointHitRadius: 12,
            spanGaps: false,
            stack: isBars ? "all" : undefined,
        }));
    }

    function colors() {
        const style = getComputedStyle(document.documentElement);
        const isDark = document.documentElement.classList.contains("dark");
        const named = (name) => style.getPropertyValue(`--color-base-${name}`).trim();
        return isDark
            ? { text: named("300"), grid: named("700") }
            : { text: named("600"), grid: named("200") };
    }

    function paint(chart) {
        const { text, grid } = colors();
        for (const scale of Object.values(chart.options.scales)) {
            scale.ticks.color = text;
            scale.grid.color = grid;
        }
        chart.options.plugins.legend.labels.color = text;
        chart.update("none");
    }

    function options(table) {
        const isStacked = table.dataset.cusChart === "bars";
        return {
            animation: false,
            interaction: { mode: "index", intersect: false },
            maintainAspectRatio: false,
            plugins: {
                legend: { position: "bottom", labels: { boxWidth: 12 } },
                tooltip: {
                    callbacks: {
                        label: (item) => `${item.dataset.label}: ${item.dataset.texts[item.dataIndex]}`,
                    },
                },
            },
            responsive: true,
            scales: {
                x: { stacked: isStacked, grid: { display: false }, ticks: { maxRotation: 0, autoSkip: true } },
                y: {
                    stacked: isStacked,
                    beginAtZero: true,
                    grid: {},
                    ticks: { callback: TICKS[table.dataset.cusUnit] },
                },
            },
        };
    }

    /* The arrow keys move along the labels, as a pointer does. */
    function followKeys(canvas, chart) {
        let place = -1;
        canvas.addEventListener("keydown", (event) => {
            const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
            if (!step) {
                return;
            }
            event.preventDefault();
            const last = chart.data.labels.length - 1;
            place = Math.min(Math.max(place + step, 0), last);
            const elements = chart.data.datasets.map((_, datasetIndex) => ({ datasetIndex, index: place }));
            chart.setActiveElements(elements);
            chart.tooltip.setActiveElements(elements, { x: 0, y: 0 });
            chart.update("none");
        });
        canvas.addEventListener("blur", () => {
            place = -1;
            chart.setActiveElements([]);
            chart.tooltip.setActiveElements([], { x: 0, y: 0 });
            chart.update("none");
        });
    }

    function draw(table) {
        const canvas = document.createElement("canvas");
        canvas.tabIndex = 0;
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `${table.dataset.cusAbout} The arrow keys read it point by point.`);
        const frame = document.createElement("div");
        frame.className = "cus-canvas";
        frame.append(canvas);
        table.closest("figure").querySelector("details").before(frame);
        const labels = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
        const chart = new Chart(canvas, {
            type: table.dataset.cusChart === "bars" ? "bar" : "line",
            data: { labels, datasets: datasets(table) },
            options: options(table),
        });
        followKeys(canvas, chart);
        charts.push(chart);
    }

    document.addEventListener("DOMContentLoaded", () => {
        document.querySelectorAll("table[data-cus-chart]").forEach(draw);
        charts.forEach(paint);
        // The theme switches between light and dark by a class of the root.
        new MutationObserver(() => charts.forEach(paint)).observe(document.documentElement, {
            attributeFilter: ["class"],
        });
    });
})();

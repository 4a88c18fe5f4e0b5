// The dashboard's chart: how many tasks ended in each hour, stacked by outcome.
import uPlot from "uplot";
import { formatNumber, gettext, language } from "./messages";

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const hour = new Intl.DateTimeFormat(language, { timeStyle: "short" });

function draw(root: HTMLElement): void {
  const [times, ...parts] = JSON.parse(root.dataset.chart ?? "[]") as number[][];
  const names: string[] = JSON.parse(root.dataset.names ?? "[]");
  if (!times) return;
  // Each part stands on those after it: drawn from the tallest to the lowest.
  const stacked = parts.map((_, index) =>
    times.map((_time, at) => parts.slice(index).reduce((sum, part) => sum + (part[at] ?? 0), 0)),
  );
  const colours = [colour("--x-ok-dot"), colour("--x-bad-dot"), colour("--x-warn-dot")];
  const bars = uPlot.paths.bars?.({ size: [0.7, 48], radius: 0.1 });
  const text = colour("--tblr-secondary-color");
  const grid = { stroke: colour("--tblr-border-color-translucent"), width: 1 };
  const axis = { stroke: text, grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const options: uPlot.Options = {
    width: root.clientWidth,
    height: 220,
    padding: [12, 24, 0, 0],
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: (_chart, min, max) => [min - 2400, max + 2400] },
      y: { range: (_c, _min, max) => [0, Math.max(4, max * 1.1)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 72,
        values: (_chart, ticks) => ticks.map((tick) => hour.format(tick * 1000)),
      },
      {
        ...axis,
        size: 52,
        values: (_chart, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? formatNumber(tick) : "")),
      },
    ],
    series: [
      {
        value: (_chart, value) => (value === null ? "–" : hour.format(value * 1000)),
        label: gettext("Hour"),
      },
      ...names.map((label, index) => ({
        label,
        fill: colours[index] ?? text,
        width: 0,
        points: { show: false },
        ...(bars ? { paths: bars } : {}),
        value: (_chart: uPlot, _value: number, _series: number, at: number | null) =>
          formatNumber(
            at === null
              ? (parts[index]?.reduce((sum, number) => sum + number, 0) ?? 0)
              : (parts[index]?.[at] ?? 0),
          ),
      })),
    ],
  };
  const chart = new uPlot(options, [times, ...stacked] as uPlot.AlignedData, root);
  new ResizeObserver(() => chart.setSize({ width: root.clientWidth, height: 220 })).observe(root);
}

const root = document.getElementById("chart");
if (root) draw(root);

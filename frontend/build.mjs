// Bundles the browser's half into src/testum/web/static/dist: scripts and styles with the hash of their content in
// the name, one sprite of the icons that src/icons.txt lists, each also compressed, and a manifest that says what is
// called how. The hatchling hook (hatch_build.py) calls it; it needs nothing but node_modules.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "src", "testum", "web", "static", "dist");
const sources = process.argv[2] ?? "";

/** What the pages ask for by name; everything else is pulled in by these. */
const entries = ["app.ts", "theme.ts", "job.ts", "task.ts", "dashboard.ts", "styles/app.css"];

async function bundle() {
  const result = await esbuild.build({
    absWorkingDir: here,
    entryPoints: entries.map((entry) => `src/${entry}`),
    outdir: dist,
    outbase: "src",
    entryNames: "[name]-[hash]",
    chunkNames: "chunk-[hash]",
    assetNames: "[name]-[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    target: ["es2022", "chrome109", "firefox115", "safari16.4"],
    minify: true,
    legalComments: "linked",
    metafile: true,
    logLevel: "warning",
  });
  const files = {};
  for (const [path, output] of Object.entries(result.metafile.outputs)) {
    const entry = entries.find((name) => output.entryPoint === `src/${name}`);
    if (entry) files[entry.replace("styles/", "")] = path.split("/").pop();
  }
  return files;
}

/** One SVG with a symbol for each line of icons.txt; `name` is outline, `name-filled` filled. */
async function sprite() {
  const names = (await readFile(join(here, "src", "icons.txt"), "utf8"))
    .split("\n")
    .filter((line) => line.trim());
  const symbols = await Promise.all(
    names.map(async (name) => {
      const filled = name.endsWith("-filled");
      const file = join(
        here,
        "node_modules/@tabler/icons/icons",
        filled ? "filled" : "outline",
        `${filled ? name.slice(0, -7) : name}.svg`,
      );
      const svg = await readFile(file, "utf8");
      const paths = svg
        .slice(svg.indexOf(">", svg.indexOf("<svg")) + 1, svg.lastIndexOf("</svg>"))
        .replace(/<path stroke="none" d="M0 0h24v24H0z" fill="none" ?\/>/, "")
        .replace(/\s*\n\s*/g, "");
      const style = filled
        ? 'fill="currentColor"'
        : 'fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"';
      return `<symbol id="${name}" viewBox="0 0 24 24" ${style}>${paths}</symbol>`;
    }),
  );
  const body = `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join("")}</svg>`;
  const file = `icons-${createHash("sha256").update(body).digest("hex").slice(0, 8)}.svg`;
  await writeFile(join(dist, file), body);
  return [file, names];
}

async function compress() {
  for (const file of await readdir(dist)) {
    if (!/\.(js|css|svg)$/.test(file)) continue;
    const body = await readFile(join(dist, file));
    const brotli = brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: body.length } });
    await writeFile(join(dist, `${file}.br`), brotli);
    await writeFile(join(dist, `${file}.gz`), gzipSync(body, { level: 9 }));
  }
}

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
const files = await bundle();
const [icons, names] = await sprite();
await compress();
// Written last: where it is, everything else is.
await writeFile(
  join(dist, "manifest.json"),
  `${JSON.stringify({ sources, files: { ...files, "icons.svg": icons }, icons: names }, null, 1)}\n`,
);

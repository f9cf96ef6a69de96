import { defineConfig } from "vite";

// The map of reports: one plain script, which Python puts into the page.
export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  publicDir: false,
  build: {
    outDir: process.env.MAP_OUT ?? "../src/bilinear/inspection/web",
    emptyOutDir: false,
    target: "es2022",
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: "src/report_map.tsx",
      output: { format: "iife", postBanner: "/*! bundles Preact (MIT), Copyright Jason Miller */", entryFileNames: "map.js" },
    },
  },
});

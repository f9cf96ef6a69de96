import { defineConfig } from "vite";

// File names without hashes: the server answers with ETags, and a rebuild changes files, not their names.
export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: process.env.PAGE_OUT ?? "../src/bilinear/serving/web",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    reportCompressedSize: true,
    rollupOptions: {
      output: {
        postBanner: "/*! bundles Preact (MIT): /licenses */",
        entryFileNames: "page.js",
        chunkFileNames: "[name].js",
        assetFileNames: "page[extname]",
      },
    },
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8000", "/docs": "http://127.0.0.1:8000" } },
});

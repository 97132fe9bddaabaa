/**
 * Main and preload are CommonJS and hold their dependencies: the sandboxed preload must be one file,
 * and Electron 25, the runtime of our tests, loads no ES modules (Node 18, Chrome 114).
 */
import { fileURLToPath } from 'node:url'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'electron-vite'

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))
const alias = { '@contract': path('./src/preload/contract') }
const commonJs = { format: 'cjs' as const, entryFileNames: '[name].cjs', chunkFileNames: 'chunks/[name]-[hash].cjs' }

export default defineConfig({
  main: {
    resolve: { alias },
    build: {
      target: 'node18',
      outDir: 'out/main',
      externalizeDeps: false,
      rollupOptions: { input: { index: path('./src/main/index.ts') }, output: commonJs },
    },
  },
  preload: {
    resolve: { alias },
    build: {
      target: 'node18',
      outDir: 'out/preload',
      externalizeDeps: false,
      isolatedEntries: true,
      rollupOptions: { input: { index: path('./src/preload/index.ts') }, output: commonJs },
    },
  },
  renderer: {
    root: path('./src/renderer'),
    base: './',
    resolve: { alias },
    plugins: [vue()],
    build: {
      target: 'chrome114',
      outDir: path('./out/renderer'),
      emptyOutDir: true,
      rollupOptions: { input: path('./src/renderer/index.html') },
    },
  },
})

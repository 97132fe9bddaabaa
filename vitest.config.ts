import { defineConfig } from 'vitest/config'
import vue from '@vitejs/plugin-vue'
import { fileURLToPath } from 'node:url'

const alias = { '@contract': fileURLToPath(new URL('./src/preload/contract', import.meta.url)) }
const node = (name: string, include: string[], testTimeout = 20_000) =>
  ({ resolve: { alias }, test: { name, include, environment: 'node' as const, testTimeout, hookTimeout: testTimeout } })

/** A page on a busy computer takes its time: what is polled for may come later than in a second. */
const e2eOf = ({ resolve, test }: ReturnType<typeof node>) => ({ resolve, test: { ...test, expect: { poll: { timeout: 15_000 } } } })

export default defineConfig({
  test: {
    projects: [
      node('unit', ['src/main/**/*.test.ts', 'src/preload/**/*.test.ts', 'scripts/**/*.test.ts']),
      { plugins: [vue()], resolve: { alias }, test: { name: 'renderer', include: ['src/renderer/**/*.test.ts'], environment: 'happy-dom' as const, testTimeout: 20_000 } },
      node('isa', ['tests/isa/**/*.test.ts', 'tests/differential/**/*.test.ts'], 600_000),
      node('system', ['tests/system/**/*.test.ts'], 300_000),
      node('devices', ['tests/devices/**/*.test.ts'], 60_000),
      node('state', ['tests/state/**/*.test.ts'], 300_000),
      node('services', ['tests/services/**/*.test.ts'], 120_000),
      node('boot', ['tests/boot/**/*.test.ts'], 600_000),
      e2eOf(node('e2e', ['tests/e2e/**/*.test.ts'], 600_000)),
      node('fuzz', ['tests/fuzz/**/*.test.ts'], 300_000),
    ],
  },
})

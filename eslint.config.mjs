// Lint: the import rules of the design, and the house style. Sizes are warnings, layers are errors.
import { readdirSync } from 'node:fs'
import js from '@eslint/js'
import importX, { createNodeResolver } from 'eslint-plugin-import-x'
import vue from 'eslint-plugin-vue'
import tseslint from 'typescript-eslint'
import vueParser from 'vue-eslint-parser'

const TESTS = ['**/*.test.ts']
const CONTRACT = './preload/contract'

/** One layer: a folder of src, and what else of src it may import. */
const layer = (folder, allowed, message) => ({
  target: `./src/${folder}`, from: './src', except: [`./${folder}`, ...allowed], message: `${folder}: ${message}`,
})

/** Devices never see one another; what all of a kind share lies in `shared`. */
const devicesOf = (folder, shared) => readdirSync(new URL(`./src/main/vmm/${folder}`, import.meta.url), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !shared.includes(entry.name))
  .map(({ name }) => ({
    target: `./src/main/vmm/${folder}/${name}`, from: `./src/main/vmm/${folder}`, except: [name, ...shared].map((path) => `./${path}`),
    message: 'a device never sees another device',
  }))

/** Who may import whom inside src: ARCHITECTURE.md. One rule holds all of it: of two rules for one file only the last counts. */
const LAYERS = [
  layer('main/vmm', [], 'the core imports nothing but the core'),
  ...['devices', 'virtio', 'irq', 'timers'].flatMap((folder) => ['cpu', 'mmu', 'machine', 'boot'].map((from) => ({
    target: `./src/main/vmm/${folder}`, from: `./src/main/vmm/${from}`, message: 'devices see bus and ports, never the CPU or the machine',
  }))),
  ...devicesOf('devices', ['pci']),
  ...devicesOf('virtio', ['device.ts', 'queue', 'transport']),
  layer('main/host', ['./main/vmm/ports', './main/vmm/errors.ts'], 'implements ports, and sees nothing else of the core'),
  layer('main/vm-host', ['./main/vmm/machine', './main/vmm/ports', './main/vmm/errors.ts', './main/host'], 'sees the machine, the ports and the host'),
  layer('main/engines', ['./main/vm-host/protocol.ts', CONTRACT], 'talks to vm-host through its protocol'),
  layer('main/services', ['./main/engines', './main/vm-host/protocol.ts', './main/host', CONTRACT], 'reaches machines through engines, never the core'),
  layer('main/ipc', ['./main/services', CONTRACT], 'carries the contract to the services'),
  layer('main/windows', [CONTRACT], 'shows windows, knows the contract'),
  layer('preload', [], 'exposes the contract'),
  layer('preload/contract', [], 'stands alone'),
  layer('renderer', [CONTRACT], 'sees the contract only'),
]

/** Forbids packages by pattern, with the reason a reader sees. The files of two of these must not overlap. */
const forbid = (files, regex, message, ignores = []) => ({
  files, ignores: [...TESTS, ...ignores], rules: { 'no-restricted-imports': ['error', { patterns: [{ regex, message }] }] },
})

export default tseslint.config(
  { ignores: ['node_modules/', 'out/', 'dist/', '.cache/', 'coverage/', '**/*.tmp.ts'] },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  ...vue.configs['flat/recommended'],
  {
    plugins: { 'import-x': importX },
    settings: {
      // Without these the import rules cannot follow `./b` to b.ts, and pass everything.
      'import-x/resolver-next': [createNodeResolver({ extensions: ['.ts', '.vue', '.mjs', '.js', '.json'] })],
      'import-x/extensions': ['.ts', '.mjs', '.js'],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
    },
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-explicit-any': 'error',
      'no-undef': 'off',
      'import-x/no-cycle': ['error', { ignoreExternal: true }],
      'max-lines': ['warn', { max: 400, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['warn', { max: 40, skipBlankLines: true, skipComments: true }],
      eqeqeq: 'error',
      semi: ['error', 'never'],
      quotes: ['error', 'single', { avoidEscape: true, allowTemplateLiterals: true }],
    },
  },
  {
    files: ['**/*.vue'],
    languageOptions: { parser: vueParser, parserOptions: { parser: tseslint.parser, sourceType: 'module' } },
    rules: { 'vue/max-attributes-per-line': 'off', 'vue/singleline-html-element-content-newline': 'off', 'vue/multi-word-component-names': 'off', 'vue/html-self-closing': 'off' },
  },
  { files: ['**/*.mjs'], languageOptions: { globals: { process: 'readonly', console: 'readonly' } } },
  { files: ['**/*.test.ts', 'tests/**/*.ts'], rules: { 'max-lines-per-function': 'off', 'max-lines': 'off' } },
  { files: ['src/**/*.{ts,vue}'], ignores: TESTS, rules: { 'import-x/no-restricted-paths': ['error', { zones: LAYERS }] } },
  {
    files: ['src/main/vmm/**/*.ts'],
    ignores: TESTS,
    rules: {
      'no-restricted-syntax': ['error', {
        selector: 'Program > VariableDeclaration[kind="let"], Program > ExportNamedDeclaration > VariableDeclaration[kind="let"]',
        message: 'no mutable state at module level in the core: several machines can live in one process',
      }],
    },
  },
  forbid(['src/main/vmm/**/*.ts'], '^[^.]', 'the core takes clock, files and everything else through its ports'),
  forbid(['src/main/{services,engines,vm-host,host,cli}/**/*.ts', 'src/main/ipc/**/*.ts'], '^electron', 'this runs under plain Node too', ['src/main/ipc/electron.ts']),
  forbid(['src/preload/contract/**/*.ts'], '^(?!zod$|\\.)', 'the contract imports zod only'),
  forbid(['src/preload/*.ts'], '^(?!electron$|\\.)', 'the sandboxed bridge has Electron and the contract'),
  forbid(['src/renderer/**/*.{ts,vue}'], '^(node:|electron)', 'the renderer has no Node and no Electron'),
)

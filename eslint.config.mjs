// Lint: the import rules of the design, and the house style. Sizes are warnings, layers are errors.
import js from '@eslint/js'
import importX from 'eslint-plugin-import-x'
import vue from 'eslint-plugin-vue'
import tseslint from 'typescript-eslint'
import vueParser from 'vue-eslint-parser'

/** Forbids imports by pattern, with the reason a reader sees. */
const forbid = (files, patterns, message, ignores = []) => ({
  files, ignores,
  rules: { 'no-restricted-imports': ['error', { patterns: [{ regex: patterns, message }] }] },
})

export default tseslint.config(
  { ignores: ['node_modules/', 'out/', 'dist/', '.cache/', 'coverage/', '**/*.tmp.ts'] },
  js.configs.recommended,
  ...tseslint.configs.recommended,
  ...vue.configs['flat/recommended'],
  {
    plugins: { 'import-x': importX },
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-explicit-any': 'error',
      'no-undef': 'off',
      'import-x/no-cycle': ['error', { ignoreExternal: true, maxDepth: 8 }],
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
  // Who may import whom: ARCHITECTURE.md.
  forbid(['src/main/vmm/**/*.ts'], '^(node:|electron|fs|path|os|child_process|worker_threads)|/(host|services|ipc|cli|windows|engines|vm-host|preload|renderer)(/|$)',
    'the core imports nothing but the core', ['**/*.test.ts']),
  forbid(['src/main/vmm/{devices,virtio,irq,timers}/**/*.ts'], '/(cpu|machine|mmu)(/|$)', 'devices see bus and ports, never the CPU', ['**/*.test.ts']),
  forbid(['src/renderer/**/*.{ts,vue}'], '^(node:|electron)|src/main|/main/', 'the renderer sees the contract only'),
  forbid(['src/preload/contract/**/*.ts'], '^(?!zod$|\\./|\\.\\./|vitest$)', 'the contract imports zod only'),
  forbid(['src/main/services/**/*.ts'], '/vmm/|^electron', 'services reach machines through engines', ['**/*.test.ts']),
)

/** Type checks every part of the project with its own compiler configuration. */
import { run } from './setup/run.mjs'

const checks = [
  ['tsc', ['-p', 'tsconfig.core.json']],
  ['tsc', ['-p', 'tsconfig.node.json']],
  ['vue-tsc', ['-p', 'tsconfig.web.json']],
]

let failed = 0
for (const [tool, args] of checks) {
  process.stdout.write(`typecheck: ${tool} ${args.join(' ')}\n`)
  try {
    // What was found last time is kept: after a small change this takes seconds.
    run('npx', ['--no-install', tool, ...args, '--incremental', '--tsBuildInfoFile', `.cache/typecheck/${tool}-${args[1]}.tsbuildinfo`])
  } catch (error) {
    process.stdout.write(`${error.message}\n`)
    failed++
  }
}
process.exitCode = failed === 0 ? 0 : 1

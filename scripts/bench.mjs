/** `npm run bench [-- all|boot|snapshots]`: figures against real peers, taken in one run, in turn, medians of several. */
import { cpus, loadavg } from 'node:os'
import { HELP, UsageError, parseOptions } from './bench/options.mjs'
import { BENCH_PACKAGES, titleOf, versions } from './bench/peers.mjs'
import { saveReport } from './bench/report.mjs'
import { Runner } from './bench/runner.mjs'
import { benchSnapshots, snapshotsTable } from './bench/snapshots.mjs'
import { renderReport } from './bench/table.mjs'
import { judge, targetsTable } from './bench/targets.mjs'
import { ensureGuests } from './setup/guests.mjs'
import { ensureNpmPackages } from './setup/npm.mjs'
import { ensureSystemPackages } from './setup/packages.mjs'
import { run, say } from './setup/run.mjs'

async function measure(options) {
  if (options.target === 'snapshots') {
    const snapshots = await benchSnapshots(options.repeat)
    return { figures: { snapshots }, render: () => snapshotsTable(snapshots) }
  }
  const { rows, remarks, rounds } = await new Runner(options).run()
  const aims = judge(rows)
  const figures = { titles: Object.fromEntries(options.peers.map((peer) => [peer, titleOf(peer)])), rows, remarks, aims, repeat: rounds }
  return { figures, render: (report) => `${renderReport(report)}${aims.length > 0 ? `\n### Aims\n\n${targetsTable(aims)}\n` : ''}` }
}

async function main() {
  const options = parseOptions(process.argv.slice(2))
  if (options.help) return process.stdout.write(HELP)
  ensureSystemPackages(BENCH_PACKAGES)
  ensureNpmPackages()
  ensureGuests()
  run('node', ['scripts/build.mjs', '--node-only'])
  const [before, measured] = [loadavg()[0], versions()]
  const { figures, render } = await measure(options)
  const report = {
    when: new Date().toISOString(), cpu: cpus()[0]?.model, cores: cpus().length, versions: measured, repeat: options.repeat, load: [before, loadavg()[0]], ...figures,
  }
  const markdown = render(report)
  process.stdout.write(`\n${markdown}\n`)
  saveReport(options, report, markdown)
}

// Through `exit`, whose listeners end the machines and remove what was written for them.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

try {
  await main()
} catch (error) {
  say(error instanceof UsageError ? error.message : error.stack)
  process.exitCode = error instanceof UsageError ? 2 : 1
}

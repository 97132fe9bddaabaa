/** What the command line asks for. */
import { parseArgs } from 'node:util'
import { DEFAULT_PEERS, PEER_NAMES } from './peers.mjs'
import { PROGRAM_NAMES } from './programs.mjs'

/** Guests of the boot rows: folder of `.cache/guests` -> width and title. */
export const BOOTS = {
  'amd64-cloud': { width: 64, title: 'Debian 6.1 cloud kernel, amd64' }, amd64: { width: 64, title: 'Debian 6.1 generic kernel, amd64' },
  i386: { width: 32, title: 'Debian 6.1 686 kernel, i386' },
}
/** The guest that Nestbox also boots on tier 0 alone, once a round: a row of its own, beside the same QEMU (`withTier0Row`). */
export const TIER0 = { guest: 'amd64-cloud', peer: 'nestbox-t0' }
/** Guest in which the programs of a width run. */
export const PROGRAM_GUEST = { 64: 'amd64-cloud', 32: 'i386' }

const BOOT_ROWS = Object.keys(BOOTS).map((guest) => `boot-${guest}`)
/** Words of `--only` that stand for several rows. */
const GROUPS = { boot: BOOT_ROWS, programs: PROGRAM_NAMES, idle: ['idle'], debian: ['debian'] }
/** `npm run bench -- WORD` */
export const TARGETS = { all: [...BOOT_ROWS, 'idle', ...PROGRAM_NAMES, 'debian'], boot: [...BOOT_ROWS, 'idle'], snapshots: [] }

export const HELP = `npm run bench [-- TARGET] [-- options]
  TARGET            all (default), boot (kernels to a shell, also on tier 0 alone; idle, memory), snapshots
  --only A,B        rows: ${Object.keys(GROUPS).join(', ')}, ${BOOT_ROWS.join(', ')},
                    ${PROGRAM_NAMES.join(', ')}
  --repeat N        runs of everything, peers in turn (3)
  --minutes M       no further repetition begins after so many
  --peers A,B       ${PEER_NAMES.join(', ')} (${DEFAULT_PEERS.join(', ')})
  --tiers 0,1,2     adds Nestbox limited to these tiers
  --width 64|32     only guests of this width
  --limit S         seconds a guest program may take (120)
  --output FILE     where the JSON goes (.cache/reports/bench-TARGET.json; the table lies beside it)
  --write-docs      puts the table into docs/performance.md
`

export class UsageError extends Error {}

function list(text, known, what) {
  const names = text.split(',').filter(Boolean)
  const strange = names.find((name) => !known.includes(name))
  if (strange !== undefined || names.length === 0) throw new UsageError(`there is no ${what} '${strange ?? text}'; known: ${known.join(', ')}`)
  return names
}

function rowsOf(only, target) {
  const all = TARGETS[target]
  if (only === undefined) return all
  return list(only, [...Object.keys(GROUPS), ...TARGETS.all], 'row').flatMap((name) => GROUPS[name] ?? [name])
}

function positive(text, what) {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`${what} must be a whole number above 0, not '${text}'`)
  return value
}

function readArguments(config) {
  try {
    return parseArgs(config)
  } catch (error) {
    throw new UsageError(error.message, { cause: error })
  }
}

/**
 * @returns {{target, rows, repeat, minutes, peers, widths, limit, output?, writeDocs, help}}
 * @throws UsageError (an Error) with a text for the user
 */
export function parseOptions(argv) {
  const { values, positionals } = readArguments({ args: argv, allowPositionals: true, options: {
    only: { type: 'string' }, repeat: { type: 'string', default: '3' }, peers: { type: 'string' }, tiers: { type: 'string' }, width: { type: 'string' },
    limit: { type: 'string', default: '120' }, minutes: { type: 'string' }, output: { type: 'string' }, 'write-docs': { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
  } })
  const target = positionals[0] ?? 'all'
  if (!(target in TARGETS) || positionals.length > 1) throw new UsageError(`there is no benchmark '${positionals.join(' ')}'; known: ${Object.keys(TARGETS).join(', ')}`)
  if (values.width !== undefined && values.width !== '64' && values.width !== '32') throw new UsageError(`--width must be 64 or 32, not '${values.width}'`)
  const tiers = values.tiers === undefined ? [] : list(values.tiers, ['0', '1', '2'], 'tier').map((tier) => `nestbox-t${tier}`)
  return {
    target, rows: rowsOf(values.only, target), repeat: positive(values.repeat, '--repeat'), limit: positive(values.limit, '--limit'),
    minutes: values.minutes === undefined ? Infinity : positive(values.minutes, '--minutes'),
    peers: [...new Set([...(values.peers === undefined ? DEFAULT_PEERS : list(values.peers, PEER_NAMES, 'peer')), ...tiers])],
    widths: values.width === undefined ? [64, 32] : [Number(values.width)], output: values.output, writeDocs: values['write-docs'], help: values.help,
  }
}

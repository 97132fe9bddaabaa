/** `nestbox vm inspect`: where the time of a running machine goes, and the guest code that takes it. */
import type { HotBlock, Machine, MachineFigures } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { withManager } from './connect'
import { ExitCode } from './exit-codes'
import { CliError, printJson, printTable } from './output'
import { findMachine, parseInteger } from './resolve'

export interface InspectOptions {
  readonly json?: boolean
  readonly watch?: boolean
  readonly count: string
  readonly wasm?: string
}

const WATCH_MS = 2000
/** Exits shown. */
const REASONS = 10

type Counts = Readonly<Record<string, number>>

/** What a counter grew by; one that went back began anew. */
const grown = (now: number, before = 0): number => (now >= before ? now - before : now)

/** Shares of what the counters grew by, largest first: `t2 61 %, t1 30 %`. */
export function sharesText(now: Counts, before: Counts = {}): string {
  const parts = Object.entries(now).map(([name, value]) => ({ name, value: grown(value, before[name]) })).filter(({ value }) => value > 0)
  const whole = parts.reduce((sum, { value }) => sum + value, 0)
  return parts.sort((a, b) => b.value - a.value).map(({ name, value }) => `${name} ${Math.round((value / whole) * 100)} %`).join(', ') || 'nothing ran'
}

const EVENTS = [['TLB misses', 'tlbMisses'], ['exceptions', 'exceptions'], ['interrupts', 'interrupts'], ['blocks decoded', 'blocksDecoded'], ['code invalidated', 'codeInvalidations']] as const

function figureRows(now: MachineFigures, before: MachineFigures | undefined): string[][] {
  const { blocks, regions, adopted, modules } = now.translations
  const exits = Object.entries(now.exits).map(([name, value]) => [name, grown(value, before?.exits[name])] as const).filter(([, value]) => value > 0)
  return [
    ['time by tier', sharesText({ ...now.tierNs, idle: now.idleNs }, before && { ...before.tierNs, idle: before.idleNs })],
    ['time by ring', sharesText(now.ringNs, before?.ringNs)],
    ['time by mode', sharesText(now.modeNs, before?.modeNs)],
    ['exits', exits.sort((a, b) => b[1] - a[1]).slice(0, REASONS).map(([name, value]) => `${name} ${value}`).join(', ') || 'none'],
    ...EVENTS.map(([label, name]) => [label, String(grown(now[name], before?.[name]))]),
    ['translations', `${blocks} blocks, ${regions} regions in ${modules} modules; ${adopted} taken over from earlier runs`],
  ]
}

function printBlocks(blocks: readonly HotBlock[]): void {
  const whole = blocks.reduce((sum, { ns }) => sum + ns, 0)
  for (const { address, mode, ring, tier, samples, ns, lines } of blocks) {
    process.stdout.write(`\n${address}  ${mode}, ring ${ring}, tier ${tier}, ${whole > 0 ? Math.round((ns / whole) * 100) : 0} % (${samples} samples)\n`)
    for (const line of lines) process.stdout.write(`  ${line.address.slice(2).padStart(16, '0')}  ${line.bytes.padEnd(30)}  ${line.text}\n`)
  }
  if (blocks.length === 0) process.stdout.write('\nNo samples yet: the guest has not run for long.\n')
}

async function readFigures(client: LocalClient, { id, name, state }: Machine): Promise<MachineFigures> {
  const figures = await client.call('machine.figures', { id })
  if (!figures) throw new CliError(ExitCode.CONFLICT, `${name} cannot be inspected: it is ${state}.`)
  return figures
}

async function show(client: LocalClient, machine: Machine, count: number, json: boolean, before?: MachineFigures): Promise<MachineFigures> {
  const blocks = await client.call('machine.hotBlocks', { id: machine.id, count })
  const figures = await readFigures(client, machine)
  if (json) printJson({ figures, blocks })
  else {
    printTable([machine.name, before ? 'since the last look' : 'since power-on'], figureRows(figures, before))
    printBlocks(blocks)
  }
  return figures
}

/** The machine's hot block at an address, in whichever mode it has the most time. */
async function showWasm(client: LocalClient, { id, name }: Machine, text: string, json: boolean): Promise<void> {
  const address = /^(0x)?([0-9a-f]{1,16})$/i.exec(text)?.[2].toLowerCase().replace(/^0+(?=.)/, '')
  if (!address) throw new CliError(ExitCode.USAGE, `--wasm ${text}: must be an address in hexadecimal, as 'vm inspect' prints it`)
  const block = (await client.call('machine.hotBlocks', { id, count: 200 })).find((hot) => hot.address === `0x${address}`)
  if (!block) throw new CliError(ExitCode.NOT_FOUND, `${name} has no hot block at 0x${address}.`)
  const wasm = await client.call('machine.wasmOf', { id, address: block.address, modeKey: block.modeKey })
  if (json) return printJson(wasm)
  process.stdout.write(wasm.text === null ? `The block at ${block.address} is interpreted now.\n` : `${wasm.text}\n`)
}

export async function inspect(name: string, options: InspectOptions): Promise<void> {
  const count = parseInteger('--count', options.count)
  if (count < 1 || count > 200) throw new CliError(ExitCode.USAGE, `--count ${options.count}: must be between 1 and 200`)
  await withManager(async (client) => {
    const machine = await findMachine(client, name)
    if (options.wasm !== undefined) return showWasm(client, machine, options.wasm, options.json ?? false)
    let figures = await show(client, machine, count, options.json ?? false)
    while (options.watch) {
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS))
      if (process.stdout.isTTY && !options.json) process.stdout.write('\u001b[H\u001b[2J')
      figures = await show(client, machine, count, options.json ?? false, figures)
    }
  })
}

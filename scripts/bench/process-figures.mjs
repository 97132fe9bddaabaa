/** What the host says of a process: /proc of Linux. */
import { readFileSync, readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** USER_HZ, which Linux fixes for /proc on every architecture we run on. */
const CLOCK_TICKS = 100
const KIB = 1024
export const IDLE_SECONDS = 10

/** @returns CPU seconds the process used so far, all its threads; NaN when it is gone */
export function cpuSeconds(pid) {
  const stat = readStat(pid)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS
}

function readStat(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return ''
  }
}

const residentBytes = (pid) => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * KIB

/** Resident bytes of the mapping that has exactly this size: the guest's memory in QEMU. Undefined where there is none. */
export function residentOfMapping(smaps, bytes) {
  const sections = smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  const section = sections.find((text) => Number(/^Size:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * KIB === bytes)
  const rss = section && /^Rss:\s+(\d+) kB/m.exec(section)?.[1]
  return rss === undefined ? undefined : Number(rss) * KIB
}

/** Watches an idle process. @returns share of one core, resident bytes, and of QEMU the guest's touched bytes */
export async function watchIdle(pid, memoryBytes) {
  const before = cpuSeconds(pid)
  const started = performance.now()
  await sleep(IDLE_SECONDS * 1000)
  const cpuShare = (cpuSeconds(pid) - before) / ((performance.now() - started) / 1000)
  return { cpuShare, residentBytes: residentBytes(pid), guestBytes: residentOfMapping(readFileSync(`/proc/${pid}/smaps`, 'utf8'), memoryBytes) }
}

/** Milliseconds a process has to begin what it does after its parent's end, and for all of it. */
const SETTLE_START = 1000
const SETTLE_LIMIT = 60_000

/** Waits until nothing works on in a peer's state folder: Nestbox compiles what a machine left after that machine's end. */
export async function settled(stateDir) {
  const busy = () => readdirSync(stateDir, { recursive: true }).some((name) => name.endsWith('.working'))
  await sleep(SETTLE_START)
  for (const end = performance.now() + SETTLE_LIMIT; busy() && performance.now() < end;) await sleep(200)
}

/** Interrupt messages that a machine with one processor and no system-management mode has no use for: counted, and told once each. */
import type { Logger } from '../ports'

/** What can come: the name under which it is counted, the name of its message, and what the log says. */
const ODDITIES = {
  'smi-dropped': ['smiDropped', 'a system-management interrupt was dropped: there is no system-management mode'],
  'startup-ipi-dropped': ['startupDropped', 'a start-up IPI was dropped: the processor runs already'],
  'init': ['initTaken', 'INIT: the machine starts again, as firmware would have it'],
  'init-deassert': ['initEndIgnored', 'the end of an INIT level was ignored, as processors since the Pentium 4 do'],
  'extint-ipi-dropped': ['extintDropped', 'an interprocessor interrupt of mode ExtINT was dropped: only I/O APICs send those'],
  'reserved-mode-dropped': ['reservedModeDropped', 'an interrupt message of a reserved delivery mode was dropped'],
  'invalid-shorthand-dropped': ['shorthandDropped', 'an interprocessor interrupt was dropped: its delivery mode does not go with its shorthand'],
  'no-destination': ['noDestination', 'an interprocessor interrupt was sent to a processor that does not exist'],
  'off': ['apicOff', 'an interrupt was lost: the local APIC is switched off'],
} as const

export type Oddity = keyof typeof ODDITIES
export const ODDITY_NAMES = Object.keys(ODDITIES) as Oddity[]

export class Oddities {
  private readonly counted = new Map<Oddity, number>()

  constructor(private readonly log?: Logger) {}

  note(what: Oddity): void {
    const before = this.counted.get(what) ?? 0
    this.counted.set(what, before + 1)
    if (before > 0) return
    const [reason, text] = ODDITIES[what]
    this.log?.log('warn', 'apic', text, { reason })
  }

  /** How often each came, by name with `apic-` before it. */
  counts(): Record<string, number> {
    return Object.fromEntries([...this.counted].map(([what, count]) => [`apic-${what}`, count]))
  }
}

/** Names of machines: unique whatever the case, so that a name means one machine on every file system and command line. */
import { LIMITS } from '../../../preload/contract'

const key = (name: string): string => name.normalize('NFC').toLocaleLowerCase('en')

export const sameName = (a: string, b: string): boolean => key(a) === key(b)

/** The name itself where it is free, else the first free one with a number behind. */
export function freeName(wanted: string, taken: readonly string[]): string {
  const used = new Set(taken.map(key))
  if (!used.has(key(wanted))) return wanted
  for (let n = 2; ; n++) {
    const suffix = ` ${n}`
    const name = wanted.slice(0, LIMITS.nameLength - suffix.length).trimEnd() + suffix
    if (!used.has(key(name))) return name
  }
}

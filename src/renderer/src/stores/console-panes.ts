/** Which consoles stand side by side: any of the machines, each with either of its ports. */
import type { ConsolePort, Machine } from '../api/types'

export interface ConsolePane {
  readonly machineId: string
  readonly port: ConsolePort
}

export const CONSOLE_PORTS: readonly ConsolePort[] = ['ttyS0', 'hvc0']
/** More at the first opening would be too small to read. */
const FIRST_MAX = 4

export const paneKey = ({ machineId, port }: ConsolePane): string => `${machineId} ${port}`

/** The serial consoles of these machines; of one alone both its ports. */
export function firstPanes(machines: readonly Machine[]): ConsolePane[] {
  const able = machines.filter(({ state, isTemplate }) => state !== 'damaged' && !isTemplate)
  if (able.length === 1) return CONSOLE_PORTS.map((port) => ({ machineId: able[0].id, port }))
  return able.slice(0, FIRST_MAX).map(({ id }) => ({ machineId: id, port: 'ttyS0' }))
}

/** What can still be added, machine by machine. */
export function otherPanes(machines: readonly Machine[], shown: readonly ConsolePane[]): { machine: Machine; panes: ConsolePane[] }[] {
  const keys = new Set(shown.map(paneKey))
  return machines.filter(({ state, isTemplate }) => state !== 'damaged' && !isTemplate)
    .map((machine) => ({ machine, panes: CONSOLE_PORTS.map((port) => ({ machineId: machine.id, port })).filter((pane) => !keys.has(paneKey(pane))) }))
    .filter(({ panes }) => panes.length > 0)
}

/** Two columns of four, otherwise as many columns as there are panes, up to three. */
export const columnsFor = (count: number): number => (count === 4 ? 2 : Math.min(count, 3))

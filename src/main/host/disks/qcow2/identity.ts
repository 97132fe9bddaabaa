/**
 * What a backing file was when an image was laid over it. Clusters of the image say how they differ from that state: over
 * another one the guest would see a mixture of both. Kept in a header extension of ours, which QEMU leaves alone.
 */
import { stat } from 'node:fs/promises'
import { keptTime } from '../lock'

export interface FileIdentity {
  /** Of the file, not of the disk in it. */
  readonly sizeBytes: number
  readonly modifiedNs: bigint
}

export const IDENTITY_BYTES = 24
const VERSION = 1
const SECOND = 1_000_000_000n

/** @throws system errors */
export async function identityOf(path: string): Promise<FileIdentity> {
  const { size, mtimeNs } = await stat(path, { bigint: true })
  return { sizeBytes: Number(size), modifiedNs: await keptTime(path, mtimeNs) ?? mtimeNs }
}

/** Version, reserved, size, time of the last change in nanoseconds since 1970; big-endian as all of the header. */
export function encodeIdentity({ sizeBytes, modifiedNs }: FileIdentity): Uint8Array {
  const view = new DataView(new ArrayBuffer(IDENTITY_BYTES))
  view.setUint32(0, VERSION)
  view.setBigUint64(8, BigInt(sizeBytes))
  view.setBigInt64(16, modifiedNs)
  return new Uint8Array(view.buffer)
}

/** Undefined for what a later Nestbox wrote: then nothing is compared. */
export function decodeIdentity(view: DataView, at: number, length: number): FileIdentity | undefined {
  if (length < IDENTITY_BYTES || view.getUint32(at) !== VERSION) return undefined
  return { sizeBytes: Number(view.getBigUint64(at + 8)), modifiedNs: view.getBigInt64(at + 16) }
}

/** Copies and archives may keep whole seconds only. */
export function isSameTime(a: bigint, b: bigint): boolean {
  if (a === b) return true
  return (a % SECOND === 0n || b % SECOND === 0n) && a / SECOND === b / SECOND
}

const timeOf = (ns: bigint): string => {
  const date = new Date(Number(ns / 1_000_000n))
  return Number.isNaN(date.getTime()) ? `${ns} ns` : date.toISOString()
}

/** What is different now, for people; undefined where nothing is. */
export function changeSince(recorded: FileIdentity, now: FileIdentity): string | undefined {
  if (recorded.sizeBytes !== now.sizeBytes) return `it had ${recorded.sizeBytes} bytes and has ${now.sizeBytes}`
  if (isSameTime(recorded.modifiedNs, now.modifiedNs)) return undefined
  return `it was last changed ${timeOf(recorded.modifiedNs)}, and again ${timeOf(now.modifiedNs)}`
}

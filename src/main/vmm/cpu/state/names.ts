/** What people call the cells of a vCPU block: in reports and listings. */
import { FIELDS, Gpr, offsetOf, Seg, type FieldName } from './layout'

const nameIn = (names: Readonly<Record<string, number>>, index: number): string =>
  Object.entries(names).find(([, i]) => i === index)?.[0].toLowerCase() ?? String(index)

/** `rax`, `cs.selector`, `xmm3`, `cr0`. */
export function cellName(field: FieldName, index: number): string {
  if (field === 'gpr') return nameIn(Gpr, index)
  if (field.startsWith('seg') || field === 'dataBase') return `${nameIn(Seg, index)}.${field.replace('seg', '').toLowerCase()}`
  if (field === 'fpr') return `r${index}(x87)`
  return FIELDS[field].count === 1 ? field : `${field}${index}`
}

const BY_OFFSET = new Map((Object.keys(FIELDS) as FieldName[]).flatMap((field) =>
  Array.from({ length: FIELDS[field].count }, (_, i) => [offsetOf(field, i), cellName(field, i)] as const)))

/** Of the cell that begins at an offset in the block. */
export const cellNameAt = (offset: number): string | undefined => BY_OFFSET.get(offset)

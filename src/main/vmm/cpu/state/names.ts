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

/** Of the cell that begins at an offset in the block. */
export function cellNameAt(offset: number): string | undefined {
  for (const field of Object.keys(FIELDS) as FieldName[]) {
    const { count } = FIELDS[field]
    const bytes = count > 1 ? offsetOf(field, 1) - offsetOf(field) : 1
    const index = (offset - offsetOf(field)) / bytes
    if (Number.isInteger(index) && index >= 0 && index < count) return cellName(field, index)
  }
  return undefined
}

/** Saves a run's figures and puts its table into the documentation. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root, say } from '../setup/run.mjs'

const docs = join(root, 'docs/performance.md')

/** @returns the text with what stands between the marks of `name` replaced. @throws Error where the marks are missing */
export function replaceBetweenMarks(text, name, content) {
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`no marks ${begin} … ${end}`)
  return `${text.slice(0, from + begin.length)}\n\n${content.trim()}\n\n${text.slice(to)}`
}

/** Writes FILE.json and FILE.md, and the table into docs/performance.md where wanted. */
export function saveReport({ target, output, writeDocs }, report, markdown) {
  const file = output ?? join(root, '.cache/reports', `bench-${target}.json`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(file.replace(/(\.json)?$/, '.md'), markdown)
  say(`figures saved in ${file}`)
  if (!writeDocs) return
  writeFileSync(docs, replaceBetweenMarks(readFileSync(docs, 'utf8'), target, markdown))
  say(`table written into ${docs}`)
}

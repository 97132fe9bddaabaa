/** What is wrong with the values of a call, in our words instead of those of the schema's library. */
import type { core } from 'zod'
import { isPhraseKey, NAME_PATTERN, phrase, type Phrase, type PhraseValue } from '../../preload/contract'

type Issue = core.$ZodIssue
type Path = Issue['path']

/** A value by the name people know it by: `disks, 1, queues` is the request queues of disk 2. */
function whatIs(path: Path): PhraseValue {
  const names = path.filter((part) => typeof part === 'string')
  const key = `setting.${names.at(-1) ?? ''}`
  if (!isPhraseKey(key)) return path.length > 0 ? path.map(String).join('.') : phrase('invalid.call')
  const place = path.find((part) => typeof part === 'number')
  return names.length > 1 && names.at(-2) === 'disks' && place !== undefined ? phrase('invalid.ofDisk', { what: { key }, number: Number(place) + 1 }) : { key }
}

/** The values that one of the alternatives takes, where all of them are of that kind. */
function valuesOf(issue: Issue): string[] {
  if (issue.code === 'invalid_value') return issue.values.map(String)
  return issue.code === 'invalid_union' ? issue.errors.flatMap((alternative) => alternative.flatMap(valuesOf)) : []
}

function ofSize(issue: core.$ZodIssueTooBig | core.$ZodIssueTooSmall, what: PhraseValue): Phrase {
  if (issue.code === 'too_small') {
    const min = Number(issue.minimum)
    return issue.origin === 'string' && min === 1 ? phrase('invalid.empty', { what }) : phrase('invalid.tooSmall', { what, min })
  }
  const max = Number(issue.maximum)
  switch (issue.origin) {
    case 'string': return phrase('invalid.tooLong', { what, max })
    case 'array': case 'set': case 'map': return phrase('invalid.tooMany', { what, max })
    default: return phrase('invalid.tooLarge', { what, max })
  }
}

/** One thing that is wrong. */
export function invalidPhrase(issue: Issue): Phrase {
  const what = whatIs(issue.path)
  const values = valuesOf(issue)
  if (values.length > 0) return phrase('invalid.notOneOf', { what, values })
  switch (issue.code) {
    case 'too_big': case 'too_small': return ofSize(issue, what)
    case 'invalid_type': return issue.expected === 'int' ? phrase('invalid.notWhole', { what }) : phrase('invalid.type', { what, type: issue.expected })
    case 'not_multiple_of': return phrase('invalid.notMultiple', { what, of: Number(issue.divisor) })
    case 'invalid_format': return issue.format === 'regex' && issue.pattern === String(NAME_PATTERN) ? phrase('invalid.characters', { what }) : phrase('invalid.form', { what })
    default: return phrase('invalid.other', { what, detail: issue.message })
  }
}

/** All that is wrong, as one phrase; of each value the first thing. */
export function invalidParams(issues: readonly Issue[]): Phrase {
  const first = new Map([...issues].reverse().map((issue) => [issue.path.join('.'), issue]))
  return phrase('call.invalid', { issues: [...first.values()].reverse().map(invalidPhrase) })
}

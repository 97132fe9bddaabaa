/** What a shell completes: verbs and options, from the command's own tree. */
import { Argument, type Command } from 'commander'

const SHELLS = ['bash', 'zsh'] as const
type Shell = (typeof SHELLS)[number]

interface Completed {
  /** `''`, `vm`, `vm start` … */
  readonly path: string
  readonly words: readonly string[]
}

const namesOf = (command: Command): string[] => [command.name(), ...command.aliases()]

function completed(command: Command, path = ''): Completed[] {
  const words = [...command.commands.flatMap(namesOf), ...command.options.flatMap(({ long }) => long ?? []), '--help']
  return [{ path, words }, ...command.commands.flatMap((child) => namesOf(child).flatMap((name) => completed(child, path === '' ? name : `${path} ${name}`)))]
}

/** Everything stands in the script, so that completing starts no program and no manager; where no word fits, files do. */
export function bashCompletion(program: Command): string {
  const all = completed(program)
  const verbs = all.slice(1).map(({ path }) => (path.includes(' ') ? `'${path}'` : `' ${path}'`))
  return `# Completion of nestbox for bash, made by "nestbox completion bash".
_nestbox() {
  local path='' word words=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$path $word" in
      ${verbs.join('|')}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${all.map(({ path, words }) => `    '${path}') words='${words.join(' ')}' ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$2"))
  if [ \${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- "$2")); fi
}
complete -o filenames -F _nestbox nestbox
`
}

const SCRIPTS: Readonly<Record<Shell, (program: Command) => string>> = {
  bash: bashCompletion,
  zsh: (program) => `autoload -U +X bashcompinit && bashcompinit\n${bashCompletion(program)}`,
}

export function addCompletionCommand(program: Command): void {
  program.command('completion')
    .description('a script with which the shell completes this command: source <(nestbox completion bash)')
    .addArgument(new Argument('<shell>', 'which shell it is for').choices(SHELLS))
    .action((shell: Shell) => void process.stdout.write(SCRIPTS[shell](program)))
}

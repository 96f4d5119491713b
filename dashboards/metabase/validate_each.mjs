// Runs Metabase's command line once for each line of standard input, a JSON array of its arguments, in one process: to
// start it takes half a second each time. For each it writes a line, what the program wrote to stdout and to stderr.
// Only for calls that end in an error (one that is well ends in that of an unreachable server): that is how the end of
// one is seen. Usage: node validate_each.mjs path/of/cli.mjs
import { AsyncLocalStorage } from "node:async_hooks"
import { createInterface } from "node:readline"
import { pathToFileURL } from "node:url"

const program = pathToFileURL(process.argv[2]).href
const write = process.stdout.write.bind(process.stdout)
// A call goes on where it meant to exit; what it still writes then is its own, and not the next one's.
const calls = new AsyncLocalStorage()

const noting = name => (text, ...rest) => {
    const call = calls.getStore()
    if (call) {
        call.said[name] += text
        if (name === "stderr" && /^\{"ok":false,"error":.*\n/m.test(call.said.stderr)) call.ended()
    }
    rest.find(one => typeof one === "function")?.()
    return true
}
process.stdout.write = noting("stdout")
process.stderr.write = noting("stderr")
const exit = process.exit.bind(process)
process.exit = () => {}
process.setMaxListeners(0)

let count = 0
for await (const line of createInterface({ input: process.stdin })) {
    process.argv = [process.argv[0], program, ...JSON.parse(line)]
    const call = { said: { stdout: "", stderr: "" } }
    await new Promise(resolve => {
        call.ended = resolve
        calls.run(call, () => import(`${program}?call=${count++}`).catch(error => {
            call.said.stderr += error.stack
            resolve()
        }))
    })
    write(JSON.stringify(call.said) + "\n")
}
exit(0)

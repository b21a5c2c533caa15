// A reporter for `node --test`: tells the ends of tests, and the runner's own totals, as lines of JSON.
const plain = (error) => {
  if (!(error instanceof Error)) return error === undefined ? undefined : { message: String(error) };
  const { message, stack, code, failureType } = error;
  return { message, stack: String(stack ?? "").slice(0, 6000), code, failureType, cause: plain(error.cause) };
};
export default async function* (source) {
  for await (const { type, data } of source) {
    if (type === "test:pass" || type === "test:fail") {
      const { name, nesting, file, line, column, skip, todo, details } = data;
      const told = { type, name, nesting, file, line, column, skip, todo, ms: details.duration_ms, kind: details.type };
      yield JSON.stringify({ ...told, error: plain(details.error) }) + "\n";
    } else if (type === "test:stderr" || type === "test:diagnostic") {
      yield JSON.stringify({ type, file: data.file, message: String(data.message).slice(0, 2000) }) + "\n";
    }
  }
}

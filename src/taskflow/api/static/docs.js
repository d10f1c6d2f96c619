"use strict";

// Renders openapi.json. Text from the document is only ever set as text, never as markup.

const DEV = "http://127.0.0.1:8080";
const METHODS = ["get", "post", "put", "patch", "delete"];

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function resolve(spec, schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? { name, ...spec.components.schemas[name] } : schema ?? {};
}

function typeName(spec, schema) {
  if (!schema) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return options.map((option) => typeName(spec, option)).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `${typeName(spec, schema.items)}[]`;
  return Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type ?? "any";
}

function table(head, rows) {
  const header = element("tr", {}, ...head.map((text) => element("th", {}, text)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  return element("table", {}, element("thead", {}, header), element("tbody", {}, ...body));
}

function fieldRows(spec, schema) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, field]) => [
    element("code", {}, required.has(name) ? `${name} *` : name),
    typeName(spec, field),
    field.description ?? "",
  ]);
}

function schemaBlock(spec, schema) {
  const inner = schema?.type === "array" && schema.items ? schema.items : schema;
  const found = resolve(spec, inner);
  if (!found.properties) return element("p", { class: "muted" }, typeName(spec, schema));
  const about = element("p", { class: "muted" }, `${typeName(spec, schema)}: ${found.description ?? ""}`);
  return element("div", {}, about, table(["field", "type", ""], fieldRows(spec, found)));
}

// The line for curl, with the address of this page in place of that of `taskflow dev`.
function curl(spec, operation) {
  const there = DEV + spec.servers[0].url.replace(/\/$/, "");
  const here = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const [sample] = operation["x-codeSamples"] ?? [];
  return sample?.source.split(there).join(here) ?? "";
}

function copyButton(text) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return button;
}

function parameters(spec, operation) {
  if (!operation.parameters?.length) return [];
  const rows = operation.parameters.map((each) => [
    element("code", {}, each.required ? `${each.name} *` : each.name),
    each.in,
    typeName(spec, each.schema),
    each.description ?? each.schema?.description ?? "",
  ]);
  return [element("h3", {}, "Parameters"), table(["name", "in", "type", ""], rows)];
}

function requestBody(spec, operation) {
  const schema = operation.requestBody?.content["application/json"].schema;
  return schema ? [element("h3", {}, "Body"), schemaBlock(spec, schema)] : [];
}

function shown(example) {
  return typeof example === "string" ? example : JSON.stringify(example, null, 2);
}

function answers(spec, operation) {
  const blocks = [element("h3", {}, "Answers")];
  for (const [status, answer] of Object.entries(operation.responses)) {
    const { schema, example } = Object.values(answer.content ?? {})[0] ?? {};
    const line = element("p", {}, element("code", {}, status), ` ${answer.description ?? ""}`);
    blocks.push(line);
    if (schema && status < "300") blocks.push(schemaBlock(spec, schema));
    if (example !== undefined) blocks.push(element("pre", { class: "example" }, shown(example)));
  }
  return blocks;
}

function operationBlock(spec, path, method, operation) {
  const summary = element(
    "summary",
    {},
    element("span", { class: "method" }, method),
    element("span", { class: "path" }, path),
    element("span", { class: "summary" }, operation.summary ?? ""),
  );
  const command = curl(spec, operation);
  const body = element(
    "div",
    {},
    element("p", {}, operation.description ?? ""),
    ...parameters(spec, operation),
    ...requestBody(spec, operation),
    ...answers(spec, operation),
    element("h3", {}, "Try it"),
    element("pre", { class: "command" }, command),
    copyButton(command),
  );
  return element("details", { class: "operation", id: operation.operationId }, summary, body);
}

function render(spec) {
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((each) => item[each])) {
      const tag = item[method].tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationBlock(spec, path, method, item[method]));
    }
  }
  document.getElementById("about").textContent = spec.info.description ?? "";
  const sections = [...groups].map(([tag, blocks]) => element("section", {}, element("h2", {}, tag), ...blocks));
  document.getElementById("operations").replaceChildren(...sections);
  document.getElementById(location.hash.slice(1))?.setAttribute("open", "");
}

async function main() {
  try {
    const answer = await fetch("openapi.json");
    if (!answer.ok) throw new Error(`openapi.json: status ${answer.status}`);
    render(await answer.json());
  } catch (error) {
    document.getElementById("operations").replaceChildren(element("p", {}, String(error)));
  }
}

main();

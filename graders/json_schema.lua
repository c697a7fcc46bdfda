-- SPDX-License-Identifier: MIT
-- Right when the answer is JSON and fits a JSON Schema (draft 2020-12, json-schema.org/draft/2020-12). The schema is
-- written into the eval as `schema` (a map, or JSON text), or each sample has its own: `per_sample` is a template that gives
-- one. The whole answer has to be JSON, white space aside; with from: block it is the last fenced block (``` or ~~~) of the
-- answer, and the whole answer where there is none. What is no JSON is wrong; a schema that is none is the eval's fault.
-- `format` is checked only with formats: true. A value under a name that comes twice is the last one.
local FENCED = "(?ms)^[ \\t]*(```|~~~)[^\\n`]*\\n(.*?)^[ \\t]*\\1[ \\t]*$"

local function last_block(answer)
  local blocks = text.find_all(answer, FENCED)
  return #blocks > 0 and blocks[#blocks][2] or answer
end

local function schema_of(params)
  local schema = params.schema
  if params.per_sample ~= "" then
    if schema ~= json.null then error("json_schema: schema and per_sample say the same thing twice") end
    schema = params.per_sample
  end
  if schema == json.null then error("json_schema needs a schema") end
  if type(schema) == "string" then
    local decoded, why = json.decode(schema)
    if decoded == nil then error("json_schema: the schema is not JSON: " .. why) end
    schema = decoded
  end
  return schema
end

return {
  name = "json_schema",
  version = 1,
  description = "The answer is JSON that fits a schema.",
  params = {
    schema = json.null, -- map, boolean or JSON text
    per_sample = template(""),
    from = one_of { "text", "block" },
    formats = false,
  },
  grade = function(_, reply, params)
    local schema = schema_of(params)
    local answer = params.from == "block" and last_block(reply.answer) or reply.answer
    local value, fault = json.decode(answer)
    if value == nil then
      json.validate(true, schema) -- a faulty schema is no secret of the answers that are JSON
      return { value = false, answer = answer, why = "not JSON: " .. fault }
    end
    local valid, why = json.validate(value, schema, params.formats)
    return { value = valid, answer = answer, why = why }
  end,
  examples = {
    { reply = '{"a": 1}', params = { schema = { type = "object", required = { "a" } } }, value = 1, answer = '{"a": 1}' },
    { reply = '{"b": 1}', params = { schema = { type = "object", required = { "a" } } }, value = 0 },
    { reply = ' [1, 2]\n', params = { schema = { items = { type = "integer" } } }, value = 1 },
    { reply = '[1, 2.5]', params = { schema = { items = { type = "integer" } } }, value = 0 },
    { reply = 'Here: {"a": 1}', params = { schema = true }, value = 0 },
    { reply = 'null', params = { schema = { const = json.null } }, value = 1 },
    { reply = '1', params = { schema = '{"minimum": 2}' }, value = 0 },
    {
      reply = 'Sure:\n```json\n{"a": 1}\n```\nDone.',
      params = { schema = { required = { "a" } }, from = "block" },
      value = 1,
      answer = '{"a": 1}\n',
    },
    { reply = "```\n1\n```\nor\n~~~\n2\n~~~", params = { schema = { const = 2 }, from = "block" }, value = 1 },
    { reply = "2", params = { schema = { const = 2 }, from = "block" }, value = 1 },
    { reply = "```\n1\n```", params = { schema = { const = 1 } }, value = 0 },
    {
      sample = { row = { schema = { type = "string" } } },
      reply = '"x"',
      params = { per_sample = "{{ row.schema }}" },
      value = 1,
    },
    { reply = '"2023-02-29"', params = { schema = { format = "date" } }, value = 1 },
    { reply = '"2023-02-29"', params = { schema = { format = "date" }, formats = true }, value = 0 },
    { reply = "1", error = "needs a schema" },
    { reply = "1", params = { schema = { type = "strnig" } }, error = "did you mean 'string'?" },
    { reply = "not JSON", params = { schema = { type = "strnig" } }, error = "did you mean 'string'?" },
    { reply = "1", params = { schema = { ["$ref"] = "#" } }, error = "circle" },
  },
}

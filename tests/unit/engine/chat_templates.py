"""Chat templates as the families of instruct models write them, in the project's own words."""

from __future__ import annotations

LLAMA = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|sep|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\nToday Date: " + date_string + "\\n\\n" + system_message + "<|turn|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|sep|>\\n\\n' + message['content'] | trim + '<|turn|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|sep|>\\n\\n' }}
{%- endif %}
"""
DATED = """\
{{- bos_token }}
{%- set today = strftime_now("%d %b %Y") if strftime_now is defined else "unknown" %}
{{- "<|start|>system<|sep|>Today: " ~ today ~ "<|turn|>" }}
{%- for message in messages %}{{ "<|start|>" ~ message.role ~ "<|sep|>" ~ message.content ~ "<|turn|>" }}{% endfor %}
{%- if add_generation_prompt %}{{ "<|start|>assistant<|sep|>" }}{% endif %}
"""
QWEN = """\
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not message.content.startswith('<tool_response>') %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
THINKING = """\
{%- for message in messages %}<|user|>{{ message.content.strip() }}{% endfor -%}
{%- if add_generation_prompt %}<|assistant|><think>
{% endif %}
"""
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("Conversation roles must alternate") }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}
"""
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}
"""
PHI = """\
{% for message in messages %}
  {% if message['role'] == 'system' and message['content'] %}
    {{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}
  {% elif message['role'] == 'user' %}
    {{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}
  {% elif message['role'] == 'assistant' %}
    {{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}
  {% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}
"""
GENERATION = """\
{% set word = "outer" %}
{% for message in messages %}
{% if message.role == "assistant" %}{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}{% else %}
<|user|>{{ message.content }}<|end|>
{% endif %}
{% endfor %}
{% generation %}{% set word = "inner" %}{{ word }}{% endgeneration %}|{{ word }}
{% if add_generation_prompt %}<|assistant|>{% endif %}
"""
LOOPS = """\
{%- macro turn(role, text) -%}<|im_start|>{{ role }}
{{ text }}<|im_end|>
{%- endmacro -%}
{%- for number in range(9) %}
    {%- if number == 1 %}{% continue %}{% endif %}
    {%- if number == 4 %}{% break %}{% endif %}
    {{- number }}
{%- endfor %}
{{ turn(messages[-1].role, messages[-1]["content"]) }}
{{ {"b": 1, "a": ["\u00e9", "<&>", true, none]} | tojson }}
{{ {"b": 1, "a": [1, 2]} | tojson(indent=2) }}
{{ {"b": 1, "a": 2} | tojson(sort_keys=true, separators=(",", ":"), ensure_ascii=true) }}
{{- pad_token }}{{ undefined_token }}
"""
ALL = {
    "Llama": LLAMA,
    "Llama with today's date": DATED,
    "Qwen": QWEN,
    "thinking": THINKING,
    "Mistral": MISTRAL,
    "Gemma": GEMMA,
    "Phi": PHI,
    "generation blocks": GENERATION,
    "loops, macros and JSON": LOOPS,
}
TOKENS = [
    "<|begin|>", "<|end|>", "<|start|>", "<|sep|>", "<|turn|>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]",
    "<start_of_turn>", "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>",
]  # fmt: skip
"""Control tokens of the templates."""

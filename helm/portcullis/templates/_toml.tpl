{{/* One value as TOML. JSON's strings are TOML's basic strings; whole numbers lose the point that YAML gives them. */}}
{{- define "toml.value" -}}
{{- if kindIs "string" . -}}
{{ toJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if or (kindIs "float64" .) (kindIs "int" .) (kindIs "int64" .) -}}
{{- if eq (float64 (int64 .)) (float64 .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else if kindIs "slice" . -}}
[{{ range $n, $item := . }}{{ if $n }}, {{ end }}{{ include "toml.value" $item }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{- range $n, $key := keys . | sortAlpha }}{{ if $n }},{{ end }} {{ include "toml.key" $key }} = {{ include "toml.value" (get $ $key) }}{{ end }} }
{{- else -}}
{{ fail (printf "config: a value of kind %s cannot be said in TOML: remove it, or give it a value" (kindOf .)) }}
{{- end -}}
{{- end -}}

{{- define "toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/* A table: first its own keys, then the tables in it. `path` is how it is called, `table` what is in it. */}}
{{- define "toml.table" -}}
{{- $path := .path -}}
{{- $tables := dict -}}
{{- range $key, $value := .table -}}
{{- $rows := and (kindIs "slice" $value) $value (kindIs "map" (first $value)) -}}
{{- if and (lt (int $.depth) 2) (or (kindIs "map" $value) $rows) -}}
{{- $_ := set $tables $key $value -}}
{{- else }}
{{ include "toml.key" $key }} = {{ include "toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := $tables -}}
{{- $name := printf "%s.%s" $path (include "toml.key" $key) -}}
{{- if kindIs "slice" $value -}}
{{- range $value }}

[[{{ $name }}]]
{{- include "toml.table" (dict "path" $name "table" . "depth" 2) -}}
{{- end -}}
{{- else }}

[{{ $name }}]
{{- include "toml.table" (dict "path" $name "table" $value "depth" 2) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The file that every process of the release reads. */}}
{{- define "portcullis.toml" -}}
{{- $values := .Values -}}
{{- $drain := $values.gateway.drain -}}
{{- $listen := $values.gateway.listen -}}
# Written by the chart {{ .Chart.Name }} {{ .Chart.Version }}.

[node]
{{- if $values.gateway.workers }}
workers = {{ int $values.gateway.workers }}
{{- else }}
workers = {{ include "portcullis.workers" . }}
{{- end }}
drain_notice = "{{ int $drain.notice }}s"
drain_deadline = "{{ int $drain.deadline }}s"
drain_spread = "{{ int $drain.spread }}s"

[listen]
public = "0.0.0.0:8080"
private = "0.0.0.0:9090"
trusted_proxies = {{ include "toml.value" $listen.trustedProxies }}
proxy_protocol = {{ $listen.proxyProtocol }}
max_connections = {{ int $listen.maxConnections }}
max_connections_per_ip = {{ int $listen.maxConnectionsPerIp }}
header_timeout = {{ $listen.headerTimeout | quote }}
backlog = {{ int $listen.backlog }}

[tls]
mode = {{ $values.tls.mode | quote }}
min_version = {{ $values.tls.minVersion | quote }}
{{- if eq $values.tls.mode "required" }}
cert_file = "tls/tls.crt"
key_file = "tls/tls.key"
{{- else if eq $values.tls.mode "off" }}
insecure = {{ $values.tls.insecure }}
{{- end }}

[store]
{{- if $values.redis.inChart.enabled }}
url = "redis://{{ include "portcullis.redisName" . }}:6379"
username = "portcullis"
{{- else }}
url = {{ $values.redis.url | quote }}
{{- with $values.redis.username }}
username = {{ . | quote }}
{{- end }}
{{- end }}
{{- if include "portcullis.redisSecret" . }}
password_file = "keys/redis.password"
{{- end }}
{{- with $values.redis.caFile }}
ca_file = {{ . | quote }}
{{- end }}
prefix = {{ $values.redis.prefix | quote }}
cluster_key_file = "keys/cluster.key"
naming_key_file = "keys/naming.key"

[coordinator]
listen = "0.0.0.0:9091"
lease = {{ $values.coordinator.lease | quote }}

[session]
close_timeout = "{{ int $drain.close }}s"
{{- with $values.config.session }}
{{- include "toml.table" (dict "path" "session" "table" . "depth" 1) }}
{{- end }}
{{- range $section, $content := omit $values.config "session" }}
{{- if kindIs "slice" $content }}
{{- range $content }}

[[{{ $section }}]]
{{- include "toml.table" (dict "path" $section "table" . "depth" 2) }}
{{- end }}
{{- else }}

[{{ $section }}]
{{- include "toml.table" (dict "path" $section "table" $content "depth" 1) }}
{{- end }}
{{- end }}
{{ end -}}

{{/* Threads: the CPU limit in cores, rounded up; without one, two. */}}
{{- define "portcullis.workers" -}}
{{- $limit := dig "limits" "cpu" "2" .Values.gateway.resources | toString -}}
{{- if hasSuffix "m" $limit -}}
{{- max 1 (ceil (divf (trimSuffix "m" $limit | float64) 1000) | int) -}}
{{- else -}}
{{- max 1 (ceil (float64 $limit) | int) -}}
{{- end -}}
{{- end -}}

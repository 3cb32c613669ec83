{{- define "portcullis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 34 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that what is hung behind it is still a legal name. */}}
{{- define "portcullis.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 34 | trimSuffix "-" -}}
{{- else if contains (include "portcullis.name" .) .Release.Name -}}
{{- .Release.Name | trunc 34 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "portcullis.name" .) | trunc 34 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods never changes between versions. */}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: {{ include "portcullis.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: portcullis
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "portcullis.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}

{{- define "portcullis.ownImage" -}}
{{- $image := .Values.image -}}
{{- include "portcullis.image" (dict "repository" $image.repository "digest" $image.digest "tag" (default .Chart.AppVersion $image.tag)) -}}
{{- end -}}

{{- define "portcullis.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "portcullis.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.keysSecret" -}}
{{- default (printf "%s-keys" (include "portcullis.fullname" .)) .Values.keys.existingSecret -}}
{{- end -}}

{{- define "portcullis.redisName" -}}
{{- printf "%s-redis" (include "portcullis.fullname" .) -}}
{{- end -}}

{{/* The Secret with Redis's password, or nothing. */}}
{{- define "portcullis.redisSecret" -}}
{{- if .Values.redis.inChart.enabled -}}
{{- default (include "portcullis.redisName" .) .Values.redis.inChart.existingSecret -}}
{{- else -}}
{{- .Values.redis.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.redisSecretKey" -}}
{{- ternary "password" .Values.redis.existingSecretKey .Values.redis.inChart.enabled -}}
{{- end -}}

{{/* Seconds from the deletion of a gateway's pod to the kill. */}}
{{- define "portcullis.grace" -}}
{{- $drain := .Values.gateway.drain -}}
{{- add $drain.preStop $drain.notice $drain.deadline $drain.close $drain.margin -}}
{{- end -}}

{{- define "portcullis.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "portcullis.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Changed configuration, changed pods. */}}
{{- define "portcullis.checksum" -}}
checksum/config: {{ include "portcullis.toml" . | sha256sum }}
{{- end -}}

{{/* The one directory that a program reads: its configuration, keys, passwords, certificates. */}}
{{- define "portcullis.configVolume" -}}
- name: config
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ include "portcullis.fullname" .root }}
          items:
            - { key: portcullis.toml, path: portcullis.toml }
      - secret:
          name: {{ include "portcullis.keysSecret" .root }}
          items:
            - { key: cluster.key, path: keys/cluster.key }
            - { key: naming.key, path: keys/naming.key }
      {{- with include "portcullis.redisSecret" .root }}
      - secret:
          name: {{ . }}
          items:
            - { key: {{ include "portcullis.redisSecretKey" $.root | quote }}, path: keys/redis.password }
      {{- end }}
      {{- if and .certificates (eq .root.Values.tls.mode "required") }}
      - secret:
          name: {{ .root.Values.tls.existingSecret }}
          items:
            - { key: tls.crt, path: tls/tls.crt }
            - { key: tls.key, path: tls/tls.key }
      {{- end }}
      {{- range .root.Values.files }}
      - {{ if .secret }}secret{{ else }}configMap{{ end }}:
          name: {{ default .configMap .secret }}
          items:
            {{- range .items }}
            - { key: {{ .key | quote }}, path: {{ .path | quote }} }
            {{- end }}
      {{- end }}
{{- end -}}

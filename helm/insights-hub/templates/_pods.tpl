{{/* What every pod of ours has. Each is called with the root, unless it says otherwise. */}}

{{/* (list root component): by these a pod is found. */}}
{{- define "selector" -}}
app.kubernetes.io/name: insights-hub
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{/* (list root target): the address of one of docker/Dockerfile's images. */}}
{{- define "image" -}}
{{- $image := (index . 0).Values.image -}}
{{ with $image.registry }}{{ . }}/{{ end }}insights-{{ index . 1 }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end }}

{{/* As docker/Dockerfile and compose.yaml: user 10001, who owns its volumes. */}}
{{- define "pod-security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "pull-secrets" -}}
{{- range .Values.image.pullSecrets }}
- name: {{ . }}
{{- end }}
{{- end }}

{{/* (dict name value): an environment, every value a text. */}}
{{- define "environment" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* (list secret setting…): settings that are in the Secret, each if it is there. */}}
{{- define "secret-environment" -}}
{{- $secret := index . 0 }}
{{- range rest . }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ . }}, optional: {{ hasPrefix "INSIGHTS_EXTERNAL_LAKE" . }}}
{{- end }}
{{- end }}

{{/* Where the lake is, for those who read or write it. */}}
{{- define "lake-settings" -}}
{{- with .Values.lake }}
{{- if .address }}
INSIGHTS_EXTERNAL_LAKE: {{ .address }}
INSIGHTS_EXTERNAL_LAKE_REGION: {{ .region }}
{{- with .endpoint }}
INSIGHTS_EXTERNAL_LAKE_ENDPOINT: {{ . }}
{{- end }}
{{- else }}
{}
{{- end }}
{{- end }}
{{- end }}

{{/* Hub and Flink see checkpoints, and a lake that is no bucket, under one path. */}}
{{- define "shared-mounts" -}}
- {name: snapshots, mountPath: /var/lib/insights/flink/snapshots}
{{- if not .Values.lake.address }}
- {name: lake, mountPath: /var/lib/insights/lake}
{{- end }}
{{- include "authority-mount" . }}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "shared-volumes" -}}
- name: snapshots
  persistentVolumeClaim: {claimName: {{ .Release.Name }}-snapshots}
{{- if not .Values.lake.address }}
- name: lake
  persistentVolumeClaim: {claimName: {{ .Release.Name }}-lake}
{{- end }}
{{- include "authority-volume" . }}
- name: tmp
  emptyDir: {}
{{- end }}

{{/* Those who connect to Postgres find its certificate authority under one path. */}}
{{- define "authority-mount" -}}
{{- if .Values.postgres.authority }}
- {name: postgres-authority, mountPath: /etc/insights/postgres, readOnly: true}
{{- end }}
{{- end }}

{{- define "authority-volume" -}}
{{- with .Values.postgres.authority }}
- name: postgres-authority
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "flink-address" -}}
{{ if .Values.flink.enabled }}http://{{ .Release.Name }}-jobmanager:19080{{ else }}{{ .Values.flink.address }}{{ end }}
{{- end }}

{{- define "kafka-address" -}}
{{ if .Values.kafka.enabled }}{{ .Release.Name }}-kafka-bootstrap:9093{{ else }}{{ .Values.kafka.address }}{{ end }}
{{- end }}

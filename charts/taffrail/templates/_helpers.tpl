{{- define "taffrail.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The name of everything that belongs to the operator. */}}
{{- define "taffrail.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "taffrail.name" .) .Release.Name }}
{{- printf "%s-operator" (.Release.Name | trunc 41 | trimSuffix "-") }}
{{- else }}
{{- printf "%s-%s-operator" .Release.Name (include "taffrail.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The name of what belongs to no namespace: another release, elsewhere, has its own. */}}
{{- define "taffrail.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "taffrail.fullname" .) }}
{{- end }}

{{- define "taffrail.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "taffrail.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "taffrail.selector" -}}
app.kubernetes.io/name: taffrail-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "taffrail.labels" -}}
{{ include "taffrail.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: taffrail
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels by which the Service and the Deployment find their pods. */}}
{{- define "archprobe.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of every object. */}}
{{- define "archprobe.labels" -}}
{{ include "archprobe.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The image, by digest. */}}
{{- define "archprobe.image" -}}
{{ .Values.image.repository }}@{{ required "image.digest: the digest of the verified index" .Values.image.digest }}
{{- end }}

{{/* Where pods may go: nodes of the architectures that the index has, those whose taints are tolerated among them. */}}
{{- define "archprobe.placement" -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: kubernetes.io/arch
              operator: In
              values:
                {{- toYaml (required "archConstraints: the architectures of the index" .Values.archConstraints) | nindent 16 }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

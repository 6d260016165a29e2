{{- define "type_members" -}}
{{- if eq .Name "metadata" -}}
As of any Kubernetes object.
{{- else -}}
{{ markdownRenderFieldDoc .Doc | replace "<br />" " " | trim }}
{{- end -}}
{{- end -}}

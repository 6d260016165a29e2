{{- define "gvList" -}}
<!-- Written by `make docs` from api/v1alpha1. -->
# API

What the resources hold, as `kubectl explain` prints it too. [reasons.md](reasons.md) has the reasons of conditions.
{{ range . }}
{{ template "gvDetails" . }}
{{- end }}
{{- end -}}

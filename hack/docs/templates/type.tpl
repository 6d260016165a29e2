{{- define "type" -}}
{{- $type := . -}}
{{- if markdownShouldRenderType $type }}
### {{ $type.Name }}

{{ $type.Doc }}
{{ if $type.References }}
Used by{{ range $i, $of := $type.SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $of }}{{ end }}.
{{ end }}
{{- if $type.Members }}
| field | type | default | meaning |
| --- | --- | --- | --- |
{{ range $type.Members -}}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ template "default" . }} | {{ template "type_members" . }} |
{{ end }}
{{- end }}
{{- if $type.EnumValues }}
| value | meaning |
| --- | --- |
{{ range $type.EnumValues -}}
| `{{ .Name }}` | {{ markdownRenderFieldDoc .Doc | replace "<br />" " " | trim }} |
{{ end }}
{{- end }}
{{- end }}
{{- end -}}
{{- define "default" -}}
{{- if .Default }}{{ markdownRenderDefault .Default }}{{ else if has "Required: {}" .Validation }}required{{ end -}}
{{- end -}}

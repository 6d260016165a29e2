#!/usr/bin/env bash
# Copies into the chart what it shares with config, whose templates read it from there:
# CRDs, permissions, who approves, the account, and what monitoring takes, as far as it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=charts/sgp-operator/files
rm -rf "$files"
mkdir -p "$files/crds" "$files/rbac"
cp config/crd/bases/*.yaml "$files/crds/"
cp config/rbac/*role.yaml "$files/rbac/"
for folder in guard approvals; do
  mkdir "$files/$folder"
  cp config/"$folder"/*.yaml "$files/$folder/"
  rm "$files/$folder/kustomization.yaml"
done
cp config/account/default.yaml "$files/account.yaml"
cp config/network-policy/manager.yaml "$files/network-policy.yaml"
if [ -e config/prometheus/rules.yaml ]; then cp config/prometheus/rules.yaml "$files/"; fi
if [ -d config/prometheus/dashboards ]; then
  mkdir "$files/dashboards"
  cp config/prometheus/dashboards/*.json "$files/dashboards/"
fi

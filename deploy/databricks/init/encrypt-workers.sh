#!/bin/bash
# Init script for clusters of machines that do not encrypt what crosses between them: Spark does it instead, with a
# secret that the cluster policy takes from a secret scope. It goes into the volume `code`. Not run on a real cluster yet.
set -euo pipefail

: "${DARKROOM_SPARK_SECRET:?the cluster policy has to set it from a secret scope}"

properties=(
  "spark.authenticate=true"
  "spark.authenticate.secret=${DARKROOM_SPARK_SECRET}"
  "spark.network.crypto.enabled=true"
  # The cipher before Spark 4 had no integrity (CVE-2025-55039).
  "spark.network.crypto.cipher=AES/GCM/NoPadding"
  "spark.network.crypto.saslFallback=false"
  "spark.io.encryption.enabled=true"
)

umask 077
spark_conf="${DB_HOME:?}/spark/conf/spark-defaults.conf"
mkdir -p "$(dirname "$spark_conf")"
for property in "${properties[@]}"; do
  echo "${property%%=*} ${property#*=}" >> "$spark_conf"
done

if [[ "${DB_IS_DRIVER:-}" == "TRUE" ]]; then
  driver_conf="${DB_HOME}/driver/conf/00-darkroom-encryption.conf"
  mkdir -p "$(dirname "$driver_conf")"
  {
    echo "[driver] {"
    for property in "${properties[@]}"; do
      echo "  \"${property%%=*}\" = \"${property#*=}\""
    done
    echo "}"
  } > "$driver_conf"
fi

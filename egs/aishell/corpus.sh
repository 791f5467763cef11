# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # read and assigned by shared/
# AISHELL-1: 178 hours of read Mandarin, 400 speakers (https://www.openslr.org/33, Apache-2.0).
# shared/prepare.sh says what may stand here.
# --corpus-dir is a folder that holds data_aishell/ (which is only read), or the two archives. Of
# these and of what is fetched, the folders are unpacked to DATA_DIR/corpus.

official_mirror=https://www.openslr.org/resources/33
option mirror "" "URL or folder of the archives (without --corpus-dir: $official_mirror)"
option checksums "$recipe/md5sum.txt" "their MD5; an md5sum.txt beside them goes before it"

archives=(data_aishell.tgz resource_aishell.tgz)
transcript=data_aishell/transcript/aishell_transcript_v0.8.txt

title=AISHELL-1
lhotse_recipe=aishell
inventory=$recipe/inventory.yaml
published=$recipe/published.yaml
systems="baseline gm_ot_setting5"
pretrain_system=baseline
avg=10

settle() {
  archive_dir=$(absolute "$corpus_dir")
  checksums=$(absolute "$checksums")
  case $mirror in
    "" | /* | *://*) ;;
    *) mirror=$(absolute "$mirror") ;;
  esac
  if [ -d "$archive_dir/data_aishell" ]; then
    mirror=
  else
    corpus_dir=$data_dir/corpus
    if [ "$archive_dir" = "$recipe/download" ]; then mirror=${mirror:-$official_mirror}; fi
    corpus_inputs=("$checksums")
    # Archives that are not the official ones.
    if [ -f "$archive_dir/md5sum.txt" ]; then corpus_inputs+=("$archive_dir/md5sum.txt"); fi
  fi
  corpus_products=("$corpus_dir/$transcript")
  corpus_transcripts=("$corpus_dir/$transcript")
}

download_corpus() {
  if [ "$corpus_dir" = "$archive_dir" ]; then
    log "Reading the corpus at $corpus_dir"
  else
    [ -d "$archive_dir/wav" ] && [ -d "$archive_dir/transcript" ] &&
      die "--corpus-dir $archive_dir: this is data_aishell itself; give the folder above it"
    python local/fetch_archives.py --names "${archives[@]}" --checksums "$checksums" \
      --archive-dir "$archive_dir" --mirror "$mirror" --corpus-dir "$corpus_dir"
  fi
  local part
  for part in "${part_list[@]}"; do
    [ -d "$corpus_dir/data_aishell/wav/$part" ] ||
      die "no folder $corpus_dir/data_aishell/wav/$part. Where the archives S*.tar.gz lie there," \
        "unpack them first: for f in S*.tar.gz; do tar xzf \$f; done"
  done
  [ -f "$corpus_dir/$transcript" ] || die "no transcripts: $corpus_dir/$transcript is not there"
}
